"""The shape of a lesion: how large its regions are, in how many pieces it lies and where; and making regions so."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from synthgate.generators.anatomy import Lesion, box_of
from synthgate.generators.lobes import place_of
from synthgate.learning.regions import Regions
from synthgate.params.steer import Hemisphere, Lobe

TOUCHING = np.ones((3, 3, 3))
FEWEST = 10
"""Voxels below which a piece is no lesion of its own."""
FULLEST = 0.95
"""Share of the region around it that a sub-region may be grown to."""
Spacing = tuple[float, float, float] | None


@dataclass(frozen=True)
class Shape:
    """What is measured of a label map."""

    volume_ml: Mapping[str, float]
    """Per region; thousands of voxels where the voxel size is unknown."""
    lesions: tuple[tuple[Hemisphere, Lobe], ...]
    """Where most of each separate lesion is, the largest first."""


def voxel_ml(spacing_mm: Spacing) -> float:
    """Volume of a voxel in ml, or in thousands of voxels where its size is unknown."""
    return float(np.prod(spacing_mm)) / 1000 if spacing_mm else 1e-3


def shape_of(
    label: np.ndarray, head: np.ndarray, regions: Regions, spacing_mm: Spacing, fewest: float = FEWEST
) -> Shape:
    """Measure a label [x, y, z] in its head [x, y, z] bool.

    Pieces that touch by a corner are one lesion; one of less than `fewest` voxels is none.
    """
    sizes = {name: float(np.isin(label, values).sum()) * voxel_ml(spacing_mm) for name, values in regions.items()}
    parts, _ = ndimage.label(label > 0, TOUCHING)
    counts = np.bincount(parts.ravel())[1:]
    order = [int(i) + 1 for i in np.argsort(-counts, kind="stable") if counts[i] >= fewest]
    low, sides = box_of(head) if head.any() else (np.zeros(3), np.ones(3))
    return Shape(sizes, tuple(place_of(_relative(parts == part, low, sides)) for part in order))


def home_of(lesion: Lesion, mirrored: bool = False) -> tuple[Hemisphere, Lobe]:
    """Where most of a lesion is in its own head, or would be in the mirrored one."""
    at = _relative(lesion.label > 0, np.array(lesion.low), np.array(lesion.sides))
    if mirrored:
        at[0] = 1 - at[0]
    return place_of(at)


def _relative(mask: np.ndarray, low: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """[3, n] middles of the mask's voxels in a box, 0..1."""
    return ((np.argwhere(mask) + 0.5 - low) / sides).T


def largest(label: np.ndarray) -> np.ndarray:
    """The label with the largest of its pieces only."""
    parts, count = ndimage.label(label > 0, TOUCHING)
    return np.where(parts == 1 + np.bincount(parts.ravel())[1:].argmax(), label, 0) if count > 1 else label


def resized(label: np.ndarray, regions: Regions, volume_ml: Mapping[str, float], spacing_mm: Spacing) -> np.ndarray:
    """The label [x, y, z] with sub-regions of the volumes asked for; 0 takes one out. The outermost stays as it is.

    A sub-region grows and shrinks within the region around it by its distance from the border, to the voxel; where the
    region around it changed, one that is not asked for keeps its share of that. One that is not there cannot grow.
    """
    out, changed = label.copy(), set(volume_ml)
    for (parent, around), (name, values) in pairwise(regions.items()):
        was, room = np.isin(label, values), np.isin(out, around)
        before = int(np.isin(label, around).sum())
        share = int(was.sum()) / max(before, 1)
        count = round(volume_ml[name] / voxel_ml(spacing_mm) if name in volume_ml else share * int(room.sum()))
        count = min(count, int(max(FULLEST, share) * int(room.sum())))
        outer, inner = set(around) - set(values), set(values) - _within(regions, name)
        if not was.any() or not outer or not {parent, name} & changed:
            continue
        changed.add(name)
        away = ndimage.distance_transform_edt(~was, spacing_mm) - ndimage.distance_transform_edt(was, spacing_mm)
        voxels = np.flatnonzero(room)
        chosen = np.zeros(label.shape, bool)
        chosen.flat[voxels[np.argsort(away.flat[voxels], kind="stable")[:count]]] = True
        is_ = np.isin(out, values)
        out[is_ & ~chosen] = min(outer)
        out[chosen & ~is_] = min(inner or values)
    return out


def _within(regions: Regions, name: str) -> set[int]:
    """The values of the region next inside."""
    names = list(regions)
    following = names[names.index(name) + 1 :]
    return set(regions[following[0]]) if following else set()
