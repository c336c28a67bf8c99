"""Inpainting: which part of a real training head is painted, and how it passes into the rest, which is kept.

The part is a region around lesions: the new one, and the head's own, where healthy tissue is painted instead.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import ArtefactError, CohortError
from synthgate.generators.anatomy import FIRST_CLUSTER
from synthgate.scratch import Scratch

SOLID, REACH = 1.0, 4.0
"""In-plane pixels from a lesion up to which all is painted, and from which on nothing is."""


def weights_of(lesion: np.ndarray) -> np.ndarray:
    """How much of each pixel is painted, [slice, x, y] float32 in 0..1, for lesions [slice, x, y] bool.

    It falls from 1 to 0 without an edge; the region is where it is not 0.
    """
    out = np.zeros(lesion.shape, np.float32)
    for plane in np.flatnonzero(lesion.any(axis=(1, 2))):
        away = ndimage.distance_transform_edt(~lesion[plane])
        ramp = np.clip((REACH - away) / (REACH - SOLID), 0, 1)
        out[plane] = ramp**2 * (3 - 2 * ramp)
    return out


@dataclass(frozen=True)
class Gaps:
    """The regions that painters learn to fill: lesions, and healthy tissue in the shape of them."""

    shapes: Sequence[np.ndarray]
    """A lesion in one slice each: its pixels [pixel, (x, y)], counted from their middle."""

    @classmethod
    def of(cls, maps: Sequence[np.ndarray]) -> "Gaps":
        """With the shapes of the lesions in maps [x, y, slice]; raises CohortError where there is none."""
        planes = [plane for codes in maps for plane in np.moveaxis(_lesion(codes), 2, 0) if plane.any()]
        if not planes:
            raise CohortError(
                "none of the patients that the weights learn from has a lesion, so there is nothing to learn to paint; "
                "choose more patients in the generator's row of params.yaml"
            )
        pixels = [np.argwhere(plane) for plane in planes]
        return cls([one - one.mean(0).round().astype(int) for one in pixels])

    def region(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[x, y] bool: around the map's own lesion, and around the shape of another put anywhere in the head."""
        lesion, head = _lesion(codes), np.argwhere(codes > 0)
        at = head[rng.integers(len(head))] + self.shapes[int(rng.integers(len(self.shapes)))]
        x, y = at[((at >= 0) & (at < codes.shape)).all(axis=1)].T
        lesion[x, y] = True
        return np.asarray((weights_of(lesion[None])[0] > 0) & (codes > 0))


def _lesion(codes: np.ndarray) -> np.ndarray:
    return (codes > 0) & (codes < FIRST_CLUSTER)


@dataclass(frozen=True)
class Originals:
    """The real images of a generator's heads, in its folder: one file each, read when it is needed."""

    folder: Path
    keys: tuple[str, ...]
    """Of the heads, in the order of the styles."""

    @classmethod
    def found(cls, folder: Path, keys: Sequence[str]) -> "Originals":
        """Those in a generator's folder; raises ArtefactError where one is missing."""
        for path in (folder / file_of(key) for key in keys):
            if not path.is_file():
                raise ArtefactError(f"{path} is missing; run `dvc repro` to make it")
        return cls(folder, tuple(keys))

    def image(self, key: str) -> np.ndarray:
        """[slice, channel, x, y] float32, as prepared."""
        return load_file(self.folder / file_of(key))["image"].astype(np.float32)


def file_of(key: str) -> str:
    """Name of the file with a head's image."""
    return f"image-{key}.safetensors"


def write_originals(store: Store, cases: Sequence[StoredCase], scratch: Scratch) -> dict[str, Path]:
    """File name → the file in scratch, of every case's image [slice, channel, x, y] float16."""

    def write(case: StoredCase, path: Path) -> None:
        save_file({"image": np.ascontiguousarray(store.planes(case)[0])}, path)

    names = {file_of(case.case): case for case in cases}
    return {name: scratch.once(name, functools.partial(write, case)) for name, case in names.items()}
