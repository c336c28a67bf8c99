"""Anatomies: label maps of whole heads, taken from training patients or from a public source.

A map holds 0 outside the head, the study's own label values in the lesion, and `FIRST_CLUSTER` + k elsewhere, k being
the intensity cluster. A head has its lesion taken out and what lay there completed, so that it can carry another's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from synthgate.cohort.store import Store, StoredCase

FIRST_CLUSTER = 16
"""Map values from here on are clusters; those below are lesion labels."""
FEWEST = 8
"""A class with fewer voxels in a case has no mean there."""
ATTRIBUTES = ("site", "sex", "age")
"""What is kept of a patient's attributes: a synthetic case has those of its head."""


@dataclass(frozen=True)
class Head:
    """A training patient's completed head."""

    key: str
    patient: str
    map: np.ndarray
    """[x, y, z] uint8: 0 or at least FIRST_CLUSTER."""
    spacing_mm: tuple[float, float, float] | None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest corner and sides of the head's bounding box, in voxels."""
        return box_of(self.map > 0)


@dataclass(frozen=True)
class Lesion:
    """A training patient's lesion, cropped, with its place in that patient's head."""

    key: str
    patient: str
    label: np.ndarray
    """[x, y, z] uint8, the lesion's bounding box."""
    low: tuple[float, ...]
    """Lowest corner of the patient's head box, in voxels of the crop."""
    sides: tuple[float, ...]
    """Sides of the head box in voxels."""


@dataclass(frozen=True)
class Mapped:
    """Cases with the anatomies that were made of them."""

    store: Store
    cases: Sequence[StoredCase]
    parts: Mapping[str, Mapping[str, np.ndarray]]
    """Case → completed `head` and `label` [x, y, z], and measured `mean`, `sd`, `voxels` of the classes."""

    @property
    def maps(self) -> list[np.ndarray]:
        """Of each case, [x, y, z] uint8, with its lesion."""
        ours = [self.parts[case.case] for case in self.cases]
        return [np.where(part["label"] > 0, part["label"], part["head"]) for part in ours]

    @property
    def attributes(self) -> tuple[Mapping[str, str], ...]:
        """Of each case, `ATTRIBUTES` only."""
        return tuple({key: case.attributes[key] for key in ATTRIBUTES if key in case.attributes} for case in self.cases)


@dataclass(frozen=True)
class Real:
    """The training patient's own image that an anatomy's lesion is painted into."""

    key: str
    """Of the head."""
    lesion: np.ndarray
    """[x, y, z] bool: the patient's own lesion, to be painted over."""


@dataclass(frozen=True)
class Anatomy:
    """The label map a synthetic case is made from, and whose it is."""

    map: np.ndarray
    """[x, y, z] uint8."""
    donors: tuple[str, ...]
    """Names: the head's patient, then those of the lesions where others."""
    spacing_mm: tuple[float, float, float] | None
    attributes: Mapping[str, str]
    """Of the head's patient; as wished where the painter is to show others."""
    shares: np.ndarray | None = None
    """[cluster, x, y, z] float16: of every voxel of the head, what share each cluster has; None: all or nothing."""
    real: Real | None = None
    """Where only lesions are painted."""

    @property
    def label(self) -> np.ndarray:
        """[x, y, z] uint8 with the study's label values only."""
        return np.where(self.map < FIRST_CLUSTER, self.map, 0).astype(np.uint8)


def values_of(clusters: int) -> list[int]:
    """All values that a map of so many clusters may hold within the head."""
    return [*range(1, FIRST_CLUSTER), *range(FIRST_CLUSTER, FIRST_CLUSTER + clusters)]


def box_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest corner and sides of a mask's bounding box, in voxels."""
    spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    return np.array([low for low, _ in spans]), np.array([high + 1 - low for low, high in spans])


def complete(codes: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Fill `gap` of a head's codes from the other hemisphere, else from the nearest voxel of the head.

    `codes` is [x, y, z] uint8 (0 outside the head), x from left to right; `gap` is where the codes are not known.
    """
    known = np.where(gap, 0, codes)
    if not (gap & (codes > 0)).any() or not known.any():
        return codes.copy()
    low, sides = (int(part[0]) for part in box_of(codes > 0))
    # the head's box is rarely symmetric to the voxel: the best of a few mid-planes
    mirrors = [_mirror(known, 2 * low + sides - 1 + shift) for shift in range(-4, 5)]
    inner = (known > 0) & ndimage.binary_dilation(gap, iterations=6)
    mirrored = max(mirrors, key=lambda mirror: int(((mirror == known) & inner).sum()))
    nearest = ndimage.distance_transform_edt(known == 0, return_distances=False, return_indices=True)
    filled = np.where(mirrored > 0, mirrored, known[tuple(nearest)])
    return np.where(gap & (codes > 0), filled, codes).astype(np.uint8)


def _mirror(codes: np.ndarray, twice_middle: int) -> np.ndarray:
    source = twice_middle - np.arange(len(codes))
    inside = (source >= 0) & (source < len(codes))
    return np.where(inside[:, None, None], codes[np.clip(source, 0, len(codes) - 1)], 0)


def cut(label: np.ndarray, head: np.ndarray, key: str, patient: str) -> Lesion | None:
    """The lesion of a label [x, y, z] in its head mask; None where there is none."""
    if not label.any():
        return None
    origin, shape = box_of(label > 0)
    low, sides = box_of(head | (label > 0))
    crop = label[tuple(slice(o, o + s) for o, s in zip(origin, shape, strict=True))]
    return Lesion(key, patient, crop.copy(), tuple(map(float, low - origin)), tuple(map(float, sides)))


def covered(head: np.ndarray, label: np.ndarray) -> dict[int, float]:
    """Cluster → share of the lesion's voxels [x, y, z] that lie on it in the completed head [x, y, z]."""
    values, counts = np.unique(head[(label > 0) & (head > 0)], return_counts=True)
    return {int(value): float(count / counts.sum()) for value, count in zip(values, counts, strict=True)}


def depth(head: np.ndarray) -> np.ndarray:
    """In-plane distance of each head voxel from the outside, in voxels; 0 outside. `head` is [x, y, z] bool."""
    padded = np.pad(head, ((1, 1), (1, 1), (0, 0)))
    planes = [ndimage.distance_transform_edt(plane)[1:-1, 1:-1] for plane in np.moveaxis(padded, 2, 0)]
    return np.stack(planes, axis=2).astype(np.float32)
