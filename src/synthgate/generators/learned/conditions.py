"""What a learned painter is told of a slice: its classes' mean image and spread, its lesion, head, and attributes.

The mean image paints every class of the label map (lesion labels, intensity clusters) with the mean intensity it has in
a patient, the spread with its standard deviation: the patient's *style*. Painters learn what is left, the residual in
units of the spread, so contrast and strength of texture and noise hold for a whole volume, and are a patient's. The
outermost pixels of a lesion are classes of their own: it fades into what is around it.

A condition's first planes are what is painted on, the next ones how strongly, its last one is where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy import ndimage
from torch import Tensor

from synthgate.generators.anatomy import FEWEST, FIRST_CLUSTER

Array = TypeVar("Array", np.ndarray, Tensor)

VALUES = 256
"""Map values there can be."""
LEAST = 0.01
"""Smallest spread: a class that is all alike is painted so strongly."""
RIMS = (128, 144)
"""Added to a lesion's values in its outermost pixels in the plane, and in the next ones."""
AROUND = (32, 64)
"""Added to the values of clusters in the pixels around a lesion, and in the next ones."""
SOFT = 0.5
"""Gaussian sigma in pixels of the mean image: classes pass into one another as tissues do."""
SHARED = 0.29
"""The same where clusters have shares: interpolating them was to smooth by about 0.41 (a variance of 1/6)."""


def zones(codes: np.ndarray) -> np.ndarray:
    """Label maps [item, x, y, …] uint8, with the values of lesions' rims and what is around them changed."""
    cross = ndimage.generate_binary_structure(2, 1).reshape(1, 3, 3, *[1] * (codes.ndim - 3))
    out, inner = codes.copy(), (codes > 0) & (codes < FIRST_CLUSTER)
    outer = inner
    for inside, around in zip(RIMS, AROUND, strict=True):
        core, wider = ndimage.binary_erosion(inner, cross, border_value=1), ndimage.binary_dilation(outer, cross)
        out[inner & ~core] += inside
        out[wider & ~outer & (codes >= FIRST_CLUSTER)] += around
        inner, outer = core, wider
    return out


def plain_of(value: int) -> int:
    """The map's value that a zone's is made from."""
    added = [*RIMS, *(around for around in AROUND if value >= around + FIRST_CLUSTER)]
    return value - max((one for one in added if value > one), default=0)


def classes_of(values: Sequence[int]) -> tuple[int, ...]:
    """The classes that have a mean in a style: a map's values, the rims of its lesions, and what is around these."""
    rims = [value + added for added in RIMS for value in values if value < FIRST_CLUSTER]
    return (*values, *rims, *(value + added for added in AROUND for value in values if value >= FIRST_CLUSTER))


def style_of(image: np.ndarray, codes: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Means, then standard deviations, of `classes` in an image [channel, x, y, z] with its map [x, y, z].

    [class, 2 channel]; NaN for a class of fewer than `FEWEST` voxels.
    """
    zone = np.moveaxis(zones(np.moveaxis(codes, 2, 0)), 0, 2).ravel()
    flat, count = image.reshape(len(image), -1), np.bincount(zone, minlength=VALUES)[:, None]

    def mean_of(values: np.ndarray) -> np.ndarray:
        total = np.stack([np.bincount(zone, channel, minlength=VALUES) for channel in values], axis=1)
        return np.asarray(total / np.maximum(count, 1))

    means = mean_of(flat)
    spreads = np.sqrt(mean_of((flat - means.T[:, zone]) ** 2))
    both = np.concatenate([means, np.maximum(spreads, LEAST)], axis=1)
    return np.asarray(np.where(count >= FEWEST, both, np.nan)[list(classes)], np.float32)


def residual_of(image: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """What a painter learns of an image [channel, *space] with its condition [plane, *space]; 0 outside its head."""
    count = len(image)
    residual = (image - condition[:count]) / np.maximum(condition[count : 2 * count], LEAST)
    return np.asarray(residual * condition[-1], np.float32)


def image_of(residual: Array, condition: Array) -> Array:
    """Undo `residual_of`, for [item, channel, *space] and [item, plane, *space]; else the mean image."""
    count = residual.shape[1]
    return condition[:, :count] + residual * condition[:, count : 2 * count] * condition[:, -1:]


@dataclass(frozen=True)
class Styles:
    """Means and spreads of the classes in every training case; arrays [case, class, 2 channel], [class, 2 channel]."""

    classes: tuple[int, ...]
    """Map values."""
    known: np.ndarray
    """NaN where a case lacks a class."""
    attributes: tuple[Mapping[str, str], ...]
    """Of each case."""

    def table(self, style: np.ndarray) -> np.ndarray:
        """[256, 2 channel] float32 to index with a label map; what a case lacks is as in the mean case."""
        table = np.zeros((VALUES, style.shape[-1]), np.float32)
        table[list(self.classes)] = np.where(np.isfinite(style), style, self._usual)
        return table

    @cached_property
    def _usual(self) -> np.ndarray:
        """Of the mean case; a rim that no case has is as the rest of its class, else half bright and as varied."""
        known = np.isfinite(self.known)
        total = np.where(known, self.known, 0).sum(axis=0)
        mean = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
        rest = [self.classes.index(plain_of(value)) for value in self.classes]
        return np.nan_to_num(np.where(np.isfinite(mean), mean, mean[rest]), nan=0.5)

    def mixed(self, wished: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
        """A style [256, 2 channel] that nobody has: between those of two cases who have the wished attributes.

        Their differences from the mean of those who have them are added with weights whose squares sum to one, so that
        styles vary as much as the cases do; nothing is less than half of what it is in any case. Where no case has all
        of the attributes, all cases serve.
        """
        alike = [all(have.get(key) == value for key, value in wished.items()) for have in self.attributes]
        rows = np.flatnonzero(alike) if any(alike) else np.arange(len(self.known))
        one, other = rng.choice(rows, 2, replace=len(rows) < 2)
        angle = rng.uniform(0, np.pi / 2)
        weights = np.zeros(len(self.known))
        weights[rows] = (1 - np.cos(angle) - np.sin(angle)) / len(rows)
        weights[one] += np.cos(angle)
        weights[other] += np.sin(angle)
        filled = np.where(np.isfinite(self.known), self.known, self._usual)
        return self.table(np.maximum(np.tensordot(weights, filled, 1), filled.min(axis=0) / 2))


@dataclass(frozen=True)
class Conditions:
    """Turns label maps into what the network is told."""

    labels: tuple[int, ...]
    """Lesion labels, one plane each."""
    groups: tuple[tuple[str, ...], ...]
    """Combinations of attribute values in training; class 0 stands for none of them, class i for group i - 1."""
    attributes: tuple[str, ...]
    region: bool = False
    """Only a region of the head is painted, and told in one more plane (`within`)."""

    @classmethod
    def of(
        cls,
        classes: Sequence[int],
        attributes: Sequence[str],
        people: Sequence[Mapping[str, str]],
        region: bool = False,
    ) -> "Conditions":
        """From the map's classes and the attributes of the training cases."""
        groups = sorted({tuple(one.get(name, "") for name in attributes) for one in people}) if attributes else []
        return cls(tuple(v for v in classes if v < FIRST_CLUSTER), tuple(groups), tuple(attributes), region)

    def channels(self, images: int) -> int:
        """Planes of a condition, for images of so many channels."""
        return 2 * images + len(self.labels) + 1 + self.region

    def group(self, person: Mapping[str, str]) -> int:
        """The class of these attributes; 0 where the training had nobody like that."""
        wanted = tuple(person.get(name, "") for name in self.attributes)
        return self.groups.index(wanted) + 1 if wanted in self.groups else 0

    def planes(self, codes: np.ndarray, table: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
        """[item, *space] map values and a style's table → [item, plane, *space] float32: mean, spread, lesion, head.

        `shares` [cluster, item, *space] are those of an anatomy.
        """
        head = (codes > 0).astype(np.float32)
        lesion = [codes == value for value in self.labels]
        sigma = SOFT if shares is None else SHARED
        flat = (0, sigma, sigma, *[0] * (codes.ndim - 3))
        weight = np.maximum(ndimage.gaussian_filter(head, flat), 1e-3)
        style = np.moveaxis(_painted(codes, table, shares), -1, 0)
        soft = [ndimage.gaussian_filter(part, flat) / weight * head for part in style]
        return np.stack([*soft, *lesion, head], axis=1).astype(np.float32)

    def within(self, planes: np.ndarray, image: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Planes [item, plane, *space] for painting only a region of an image's head, [item, channel, *space].

        Outside the region [item, *space] bool the image itself stands for the mean image.
        """
        count, inside = image.shape[1], region[:, None]
        canvas = np.where(inside, planes[:, :count], image)
        return np.concatenate([canvas, planes[:, count:], inside], axis=1, dtype=np.float32)


def _painted(codes: np.ndarray, table: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """[item, *space, 2 channel]: every voxel as bright and varied as its zone, or as its clusters by their shares."""
    zone = zones(codes)
    out = table[zone]
    if shares is not None:
        for around in (0, *AROUND):
            here = (codes >= FIRST_CLUSTER) & (zone == codes + around)
            first = FIRST_CLUSTER + around
            out[here] = shares[:, here].T.astype(np.float32) @ table[first : first + len(shares)]
    return out
