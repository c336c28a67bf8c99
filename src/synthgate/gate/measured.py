"""What is measured on every case, once: the table that all axes judge from."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthgate.cohort.store import Store, StoredCase
from synthgate.features import radiomics
from synthgate.features.convolution import Convolution
from synthgate.features.descriptors import describe
from synthgate.features.head import head_of
from synthgate.features.mild import mild
from synthgate.features.thumbnails import SHAPE_GRID, outline, shape_of, thumbnail
from synthgate.learning.own_encoder import OwnSpace
from synthgate.learning.regions import Regions, dice, to_regions

Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(image, label) → those of a planted defect."""
Predict = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""(image [channel, x, y, z], the people behind it) → probabilities [region, x, y, z] of who did not see them."""


@dataclass(frozen=True)
class Spaces:
    """What embeds an image."""

    convolution: Convolution
    own: OwnSpace | None = None


SHARED = ("known", "known_fold", "names")
"""Columns that are not of one case."""


@dataclass(frozen=True)
class Measured:
    """One row per case; arrays are [case, …], NaN where a number is undefined."""

    case: np.ndarray
    people: np.ndarray
    """The patients behind the case, joined by `;`; empty where a batch does not say."""
    group: np.ndarray
    """The unit of every test: the patient, or the donor (or public person) of the head; the case itself where nobody is
    named."""
    split: np.ndarray
    content: np.ndarray
    attributes: np.ndarray
    """Site, sex, age and the like, as a JSON object."""
    descriptors: np.ndarray
    """[case, descriptor]"""
    convolution: np.ndarray
    """[case, feature]"""
    mild_descriptors: np.ndarray
    mild_convolution: np.ndarray
    """The same after the mild change that tolerances are measured with."""
    radiomics: np.ndarray
    """[case, feature]"""
    mild_radiomics: np.ndarray
    own: np.ndarray
    """[case, feature] of the user's own encoder; none without one."""
    mild_own: np.ndarray
    thumbnail: np.ndarray
    """uint8 [case, channel, *grid]"""
    outline: np.ndarray
    """uint8 [case, *grid]"""
    shape: np.ndarray
    """uint8 [case, *shape grid]; all zero for a lesion too small to have one."""
    dice: np.ndarray
    """[case, region] of the judge model against the label."""
    inside: np.ndarray
    """Share of the lesion that lies in the head; NaN without a lesion."""
    constant: np.ndarray
    """Number of channels that are constant in the head."""
    foreign: np.ndarray
    """Number of voxels with a label value the study does not know."""
    registered: np.ndarray
    """[case, known] similarity to the training patients' cases, one laid over the other (`gate.likeness`)."""
    learned: np.ndarray
    """[case, known] the same by an encoder that did not see that patient; −inf where that cannot be compared."""
    known: np.ndarray
    """[known] the training patients compared with."""
    known_fold: np.ndarray
    """[known] the fold whose encoder did not see them."""
    names: np.ndarray
    """[descriptor] names."""

    def __len__(self) -> int:
        return len(self.case)

    def rows(self, chosen: np.ndarray) -> "Measured":
        """The same table for some cases (indices or a mask)."""
        return Measured(**{k: v if k in SHARED else v[chosen] for k, v in vars(self).items()})

    def likened(self, other: "Measured") -> "Measured":
        """`other`, of the same cases, with how alike these are to the training patients."""
        names = ("registered", "learned", "known", "known_fold")
        return dataclasses.replace(other, **{name: vars(self)[name] for name in names})

    def by_group(self, region: int) -> np.ndarray:
        """Mean Dice in a region per patient or donor, undefined ones left out."""
        values = self.dice[:, region]
        known = ~np.isnan(values)
        return np.array([values[known & (self.group == group)].mean() for group in np.unique(self.group[known])])

    def space(self, name: str) -> np.ndarray:
        """[case, feature] of a space by its name, or of one after the mild change (`mild_…`)."""
        return np.asarray(getattr(self, name))

    def write(self, path: Path) -> None:
        """Write as `.npz` without pickles."""
        with path.open("wb") as stream:
            np.savez(stream, **vars(self))


def read(path: Path) -> Measured:
    """Read a table; refuses pickled content."""
    with np.load(path, allow_pickle=False) as stored:
        return Measured(**{name: stored[name] for name in stored.files})


def measure(
    store: Store,
    case: StoredCase,
    regions: Regions,
    spaces: Spaces,
    predict: Predict | None,
    change: Change | None = None,
) -> Measured:
    """Measure one case, or what a change makes of it; about a second on one core, nearly all of it in `predict`.

    Without `predict` the Dice is undefined; with a change nothing is measured of what a mild change would make of it.
    """
    image, label = store.image(case), store.label(case)
    if change:
        image, label = change(image, label)
    head, lesion = head_of(image), label > 0
    views = [image] if change else [image, mild(image)]
    described = [describe(view, label, regions, case.geometry.spacing_mm, store.channels) for view in views]
    textures = [radiomics.describe(view, label, store.channels) for view in views]
    values, textured = (
        np.array([[np.nan if value is None else value for value in found.values()] for found in part], float)
        for part in (described, textures)
    )
    truth = to_regions(label, regions)
    found = predict(image, case.people) > 0.5 if predict else [None] * len(truth)
    overlap = [None if p is None else dice(p, t) for p, t in zip(found, truth, strict=True)]
    shape, embedded = shape_of(label), [spaces.convolution.embed(view)[None] for view in views]
    own = [spaces.own.embed(view)[None] if spaces.own else np.zeros((1, 0)) for view in views]
    behind = case.people or tuple(filter(None, case.attributes.get("public", "").split(";")))
    return Measured(
        case=np.array([case.case]),
        people=np.array([";".join(case.people)]),
        group=np.array([behind[0] if behind else case.case]),
        split=np.array([case.split]),
        content=np.array([case.content]),
        attributes=np.array([json.dumps(dict(case.attributes), sort_keys=True)]),
        descriptors=values[:1],
        convolution=embedded[0],
        mild_descriptors=values[-1:],
        mild_convolution=embedded[-1],
        own=own[0],
        mild_own=own[-1],
        radiomics=textured[:1],
        mild_radiomics=textured[-1:],
        thumbnail=thumbnail(image)[None],
        outline=outline(label, image)[None],
        shape=np.zeros((1, *SHAPE_GRID), np.uint8) if shape is None else shape[None],
        dice=np.array([[np.nan if value is None else value for value in overlap]], float),
        inside=np.array([(lesion & head).sum() / lesion.sum() if lesion.any() else np.nan]),
        constant=np.array([sum(float(np.ptp(channel[head])) == 0 for channel in image) if head.any() else len(image)]),
        foreign=np.array([int((lesion & ~truth.any(axis=0)).sum())]),
        registered=np.zeros((1, 0), np.float32),
        learned=np.zeros((1, 0), np.float32),
        known=np.zeros(0, str),
        known_fold=np.zeros(0, int),
        names=np.array(list(described[0])),
    )


def stack(tables: Sequence[Measured]) -> Measured:
    """Several tables as one, in order."""
    first = vars(tables[0])
    return Measured(**{k: v if k in SHARED else np.concatenate([vars(t)[k] for t in tables]) for k, v in first.items()})
