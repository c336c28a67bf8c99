"""What a learned painter is told of a slice: the mean image of its classes, its lesion, its head; and its attributes.

The mean image paints every class of the label map (lesion labels, intensity clusters) with the mean intensity it has in
a patient: the patient's *style*. Painters learn what is left, the residual, so a style holds for a whole volume. The
outermost pixels of a lesion are classes of their own: it fades into what is around it.

A condition's first planes are what is painted on, its last one is where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from synthgate.generators.anatomy import FEWEST, FIRST_CLUSTER

VALUES = 256
"""Map values there can be."""
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


def means_of(image: np.ndarray, codes: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """[class, channel] mean intensities of `classes` in an image [channel, x, y, z] with its map [x, y, z].

    NaN for a class of fewer than `FEWEST` voxels.
    """
    zone = np.moveaxis(zones(np.moveaxis(codes, 2, 0)), 0, 2).ravel()
    flat, count = image.reshape(len(image), -1), np.bincount(zone, minlength=VALUES)
    total = np.stack([np.bincount(zone, channel, minlength=VALUES) for channel in flat], axis=1)
    means = total / np.maximum(count, 1)[:, None]
    return np.asarray(np.where(count[:, None] >= FEWEST, means, np.nan)[list(classes)], np.float32)


@dataclass(frozen=True)
class Styles:
    """Mean intensities of the classes in every training case; arrays [case, class, channel] and [class, channel]."""

    classes: tuple[int, ...]
    """Map values."""
    means: np.ndarray
    """NaN where a case lacks a class."""
    attributes: tuple[Mapping[str, str], ...]
    """Of each case."""

    def table(self, means: np.ndarray) -> np.ndarray:
        """[256, channel] float32 to index with a label map; what a case lacks is as in the mean case."""
        table = np.zeros((VALUES, means.shape[-1]), np.float32)
        table[list(self.classes)] = np.where(np.isfinite(means), means, self._usual)
        return table

    @cached_property
    def _usual(self) -> np.ndarray:
        """[class, channel] of the mean case; a rim that no case has is as the rest of its class, else half bright."""
        known = np.isfinite(self.means)
        total = np.where(known, self.means, 0).sum(axis=0)
        mean = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
        rest = [self.classes.index(plain_of(value)) for value in self.classes]
        return np.nan_to_num(np.where(np.isfinite(mean), mean, mean[rest]), nan=0.5)

    def draw(self, wished: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
        """A style [256, channel] that nobody has: between two cases that have the wished attributes.

        Their differences from the mean of those cases are added with weights whose squares sum to one, so that styles
        vary as much as the cases do. Where no case has all of the attributes, all cases serve.
        """
        alike = [all(have.get(key) == value for key, value in wished.items()) for have in self.attributes]
        rows = np.flatnonzero(alike) if any(alike) else np.arange(len(self.means))
        filled = np.stack([self.table(self.means[row])[list(self.classes)] for row in rows])
        middle = filled.mean(axis=0)
        one, other = rng.choice(len(rows), 2, replace=len(rows) < 2)
        angle = rng.uniform(0, np.pi / 2)
        drawn = middle + np.cos(angle) * (filled[one] - middle) + np.sin(angle) * (filled[other] - middle)
        return self.table(np.maximum(drawn, 0))


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
        return images + len(self.labels) + 1 + self.region

    def group(self, person: Mapping[str, str]) -> int:
        """The class of these attributes; 0 where the training had nobody like that."""
        wanted = tuple(person.get(name, "") for name in self.attributes)
        return self.groups.index(wanted) + 1 if wanted in self.groups else 0

    def planes(self, codes: np.ndarray, table: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
        """[item, *space] map values and a style's table → [item, plane, *space] float32: mean image, lesion, head.

        `shares` [cluster, item, *space] are those of an anatomy.
        """
        head = (codes > 0).astype(np.float32)
        lesion = [codes == value for value in self.labels]
        sigma = SOFT if shares is None else SHARED
        flat = (0, sigma, sigma, *[0] * (codes.ndim - 3))
        weight = np.maximum(ndimage.gaussian_filter(head, flat), 1e-3)
        means = np.moveaxis(_painted(codes, table, shares), -1, 0)
        mean = [ndimage.gaussian_filter(part, flat) / weight * head for part in means]
        return np.stack([*mean, *lesion, head], axis=1).astype(np.float32)

    def within(self, planes: np.ndarray, image: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Planes [item, plane, *space] for painting only a region of an image's head, [item, channel, *space].

        Outside the region [item, *space] bool the image itself stands for the mean image.
        """
        count, inside = image.shape[1], region[:, None]
        canvas = np.where(inside, planes[:, :count], image)
        return np.concatenate([canvas, planes[:, count:], inside], axis=1, dtype=np.float32)


def _painted(codes: np.ndarray, table: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """[item, *space, channel]: every voxel as bright as its zone, or as its clusters by their shares."""
    zone = zones(codes)
    out = table[zone]
    if shares is not None:
        for around in (0, *AROUND):
            here = (codes >= FIRST_CLUSTER) & (zone == codes + around)
            first = FIRST_CLUSTER + around
            out[here] = shares[:, here].T.astype(np.float32) @ table[first : first + len(shares)]
    return out
