"""Measured tables drawn at random: the numbers of patients as individual as one likes, and their images if wanted."""

import json
from functools import cache

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from synthgate.features.thumbnails import GRID, SHAPE_GRID
from synthgate.gate.copies import rendered
from synthgate.gate.likeness import Likeness
from synthgate.gate.measured import Measured, stack
from synthgate.gate.trial import Trial
from synthgate.params import Gate, Probe

NAMES = ("head_volume", "WT_share", "lesion_x", "t1_mean", "t1_contrast", "sharpness")
LESION = slice(2, 5)
"""Columns of `NAMES` that are undefined together where there is no lesion."""
REGIONS = {"WT": (1, 2), "TC": (1,)}
PARAMS = Gate(
    permutations=99, draws=3, error_rejecting=0.04, error_privacy=0.01, agreement_margin=0.1, neighbours=3,
    components=4, attributes=("site", "sex"), utility=Probe(0, 1, 0.25, 0.03, 0.95), seed=0,
)  # fmt: skip


def numbers(
    count: int, seed: int, split: str = "train", people: tuple[str, ...] | None = None, images: bool = False
) -> Measured:
    """`count` independent patients, or (split synthetic) cases of the given people, nobody by default."""
    rng = np.random.default_rng(seed)
    names = np.array([f"{split}-{seed}-{i}" for i in range(count)])
    who = names if split != "synthetic" else np.array(people or [""] * count)
    descriptors, convolution = rng.normal(size=(count, len(NAMES))), rng.normal(size=(count, 10))
    thumbnail, outline, shape = pictures(count, rng) if images else blank(count)
    return Measured(
        case=np.array([f"case-{name}" for name in names]),
        people=who,
        group=np.array([w.split(";")[0] or n for w, n in zip(who, names, strict=True)]),
        split=np.full(count, split),
        content=np.array([f"content-{name}" for name in names]),
        attributes=np.array([json.dumps({"site": "AB"[i % 2], "sex": "FM"[i % 3 == 0]}) for i in range(count)]),
        descriptors=descriptors,
        convolution=convolution,
        mild_descriptors=descriptors + 0.1 * (np.arange(len(NAMES)) == 5),
        mild_convolution=convolution + 0.02,
        radiomics=(radiomics := rng.normal(size=(count, 12))),
        mild_radiomics=radiomics + 0.02,
        own=np.zeros((count, 0)),
        mild_own=np.zeros((count, 0)),
        thumbnail=thumbnail,
        outline=outline,
        shape=shape,
        dice=np.clip(rng.normal(0.8, 0.08, (count, len(REGIONS))), 0, 1),
        inside=np.ones(count),
        constant=np.zeros(count, int),
        foreign=np.zeros(count, int),
        registered=np.zeros((count, 0), np.float32),
        learned=np.zeros((count, 0), np.float32),
        known=np.zeros(0, str),
        known_fold=np.zeros(0, int),
        names=np.array(NAMES),
    )


def blank(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """No pictures, for tests that need none."""
    return (np.zeros((count, 2, *GRID), np.uint8), np.zeros((count, *GRID), np.uint8),
            np.zeros((count, *SHAPE_GRID), np.uint8))  # fmt: skip


def pictures(
    count: int, rng: np.random.Generator, radii: tuple[float, float] = (2, 6)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elliptic heads of individual texture, each with a ball of its own radius (voxels) that is a little brighter."""
    place = np.indices(GRID) - (np.array(GRID)[:, None, None, None] - 1) / 2
    head = ((place / (np.array(GRID)[:, None, None, None] / 2)) ** 2).sum(axis=0) <= 1
    texture = ndimage.gaussian_filter(rng.normal(size=(count, 2, *GRID)), (0, 0, 1, 1, 1))
    texture /= texture.std()
    centre = rng.uniform(-0.5, 0.5, (count, 3)) * np.array(GRID) / 2
    away = np.sqrt(((place[None] - centre[:, :, None, None, None]) ** 2).sum(axis=1))
    lesion = (away <= rng.uniform(*radii, count)[:, None, None, None]) & head
    images = np.clip(100 + 20 * texture + 35 * lesion[:, None], 1, 255) * head
    blobs = ndimage.gaussian_filter(rng.normal(size=(count, *SHAPE_GRID)), (0, 2, 2, 2)) > 0
    return images.astype(np.uint8), (255 * lesion).astype(np.uint8), (255 * blobs).astype(np.uint8)


def reference(seed: int = 0, images: bool = False) -> Measured:
    """42 training and 18 validation patients."""
    return stack([numbers(42, seed, images=images), numbers(18, seed + 1, "validation", images=images)])


def batch(count: int = 20, seed: int = 500, donors: int = 40, images: bool = False) -> Measured:
    """Cases as good as real patients, of training patients of `reference(0)` one after the other."""
    people = tuple(f"train-0-{i % donors}" for i in range(count))
    return numbers(count, seed, "synthetic", people, images=images)


def changed(table: Measured, **columns: np.ndarray) -> Measured:
    """The same table with other columns."""
    return Measured(**{**vars(table), **columns})


class Coarse(nn.Module):
    """An encoder that learned nothing: the fine structure on a coarse grid."""

    def forward(self, fine: torch.Tensor) -> torch.Tensor:
        return functional.normalize(functional.avg_pool3d(fine, 2).flatten(1), dim=1)


class Pictures:
    """A table that is the same as another where their images are: what is slow is done once."""

    def __init__(self, table: Measured) -> None:
        self.table = table
        self.key = (table.thumbnail.tobytes(), tuple(table.group), tuple(table.split))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pictures) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@cache
def patients(real: Pictures) -> tuple[Likeness, Measured, Measured]:
    """What compares cases with the training patients, in two folds; the patients compared; the same recoloured."""
    train = real.table.rows(real.table.split == "train")
    among = Likeness(train, np.arange(len(train)) % 2, [Coarse(), Coarse()])
    drawn = changed(train, thumbnail=rendered(train.thumbnail, np.random.default_rng(3)))
    return among, among.among(real.table, np.arange(len(real.table)) % 2), among(drawn)


@cache
def compared(table: Pictures, real: Pictures) -> Measured:
    """A batch compared with the training patients."""
    return patients(real)[0](table.table)


def trial(table: Measured, real: Measured, intent: str = "realistic", **known: object) -> Trial:
    """A batch before the gate, with what is `known` of it beside; compared with the patients, where it has images."""
    if table.thumbnail.any() or real.thumbnail.any():
        ours, (_, theirs, drawn) = compared(Pictures(table), Pictures(real)), patients(Pictures(real))
        table, real, known = ours.likened(table), theirs.likened(real), {"rendered": drawn, **known}
    facts = {
        "params": PARAMS,
        "regions": REGIONS,
        "contents": dict(zip(real.content.tolist(), real.group.tolist(), strict=True)),
        **known,
    }
    return Trial(table, real, intent=intent, **facts)  # type: ignore[arg-type]
