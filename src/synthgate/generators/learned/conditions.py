"""What a learned painter is told of a slice: its classes' mean image and spread, its lesion, head, and attributes.

The mean image paints every class of the label map (lesion labels, intensity clusters) with the mean intensity it has in
a patient, the spread with its standard deviation: the patient's *style*. Painters learn what is left, the residual in
units of the spread, so contrast and strength of texture and noise hold for a whole volume, and are a patient's. A
lesion fades into whatever tissue it lies in.

A condition's first planes are what is painted on, the next ones how strongly, its last one is where.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy import ndimage, special
from torch import Tensor

from synthgate import workers
from synthgate.cohort.prepare import BRIGHTEST
from synthgate.generators.anatomy import FEWEST, FIRST_CLUSTER

Array = TypeVar("Array", np.ndarray, Tensor)

VALUES = 256
"""Map values there can be."""
LEAST = 0.01
"""Smallest spread: a class that is all alike is painted so strongly."""
SOFT = 0.5
"""Gaussian sigma in pixels of the mean image: classes pass into one another as tissues do."""
SHARED = 0.29
"""The same where clusters have shares: interpolating them was to smooth by about 0.41 (a variance of 1/6)."""
FADES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""The same at a lesion's border: one of these, whichever the training patients have."""
PARTS = 0.75
"""Between the parts of a lesion no more than this, which on the phantom leaves about the least to be learned."""
FAR = 7
"""Widths of its border away from which a lesion leaves nothing, in float32."""
FITTED = 50
"""Voxels that a lesion label needs for least squares: none of fewer is far from the border, and noise decides."""


def fade_of(cases: Sequence[tuple[np.ndarray, np.ndarray]], classes: Sequence[int]) -> float:
    """How wide the borders of lesions are, in images [channel, x, y, z] with their maps [x, y, z].

    Of `FADES` that which leaves the least of the slices with a lesion, by the mean square.
    """

    def left(case: tuple[np.ndarray, np.ndarray]) -> list[float]:
        some = ((case[1] > 0) & (case[1] < FIRST_CLUSTER)).any(axis=(0, 1))
        image, codes = (part[..., some] for part in case)
        count = np.array([(codes == value).sum() for value in classes])[:, None]
        return [np.nansum(style_of(image, codes, classes, fade)[:, len(image) :] ** 2 * count) for fade in FADES]

    return FADES[int(np.sum(list(workers.each(left, cases)), axis=0).argmin())]


def style_of(image: np.ndarray, codes: np.ndarray, classes: Sequence[int], fade: float) -> np.ndarray:
    """Means, then standard deviations, of `classes` in an image [channel, x, y, z] with its map [x, y, z].

    Those of clusters are of their voxels. Those of lesion labels, whose voxels are partly something else, are what
    brings the mean image nearest to the image, by least squares within the brightness there is; of fewer than `FITTED`
    voxels, of these. The deviations are from the mean image. [class, 2 channel]; NaN for a class of fewer than
    `FEWEST` voxels.
    """
    maps, images = np.moveaxis(codes, 2, 0), np.moveaxis(image, 3, 0)
    count = np.bincount(codes.ravel(), minlength=VALUES)[:, None]

    def mean_of(values: np.ndarray) -> np.ndarray:
        total = [np.bincount(maps.ravel(), channel.ravel(), minlength=VALUES) for channel in np.moveaxis(values, 1, 0)]
        return np.asarray(np.stack(total, axis=1) / np.maximum(count, 1))

    means = mean_of(images)
    labels = [value for value in range(1, FIRST_CLUSTER) if count[value] >= FITTED]
    if labels:
        some = np.isin(maps, labels).any(axis=(1, 2))
        there, units = np.isin(maps[some], labels), np.zeros((VALUES, len(labels)))
        units[labels, range(len(labels))] = 1
        means[labels] = 0
        parts, rest = (np.moveaxis(_blended(maps[some], table, fade), 1, -1)[there] for table in (units, means))
        seen = np.moveaxis(images[some], 1, -1)[there]
        found = np.linalg.lstsq(parts, seen - rest, rcond=None)[0]
        means[labels] = np.clip(found, 0, BRIGHTEST)
    spreads = np.sqrt(mean_of((images - _blended(maps, means, fade)) ** 2))
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
        """[256, 2 channel] float32 to index with a label map; what a case lacks is as in the mean case.

        How bright that is here, a straight line tells, fitted to the means of the clusters in both: preparing an image
        with something very dark or bright in it moves all its intensities.
        """
        table = np.zeros((VALUES, style.shape[-1]), np.float32)
        table[list(self.classes)] = self._completed(style)
        return table

    def _completed(self, style: np.ndarray) -> np.ndarray:
        usual, count = self._usual.copy(), style.shape[-1] // 2
        both = np.isfinite(style).all(axis=1) & (np.array(self.classes) >= FIRST_CLUSTER)
        for channel in range(count) if both.sum() > 1 else ():
            slope, offset = np.polyfit(usual[both, channel], style[both, channel], 1)
            usual[:, channel] = slope * usual[:, channel] + offset
            usual[:, count + channel] *= abs(slope)
        return np.where(np.isfinite(style), style, usual)

    @cached_property
    def _usual(self) -> np.ndarray:
        """Of the mean case; of a class that no case has, half bright and as varied."""
        known = np.isfinite(self.known)
        total = np.where(known, self.known, 0).sum(axis=0)
        return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), 0.5)

    @cached_property
    def _complete(self) -> np.ndarray:
        """Of every case, nothing lacking."""
        return np.stack([self._completed(style) for style in self.known])

    def mixed(self, wished: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
        """A style [256, 2 channel] that nobody has: between those of two cases who have the wished attributes.

        Their differences from the mean of those who have them are added with weights whose squares sum to one, so that
        styles vary as much as the cases do, as far as cases go: nothing is beyond what it is in all of them. Where no
        case has all of the attributes, all cases serve.
        """
        alike = [all(have.get(key) == value for key, value in wished.items()) for have in self.attributes]
        rows = np.flatnonzero(alike) if any(alike) else np.arange(len(self.known))
        one, other = rng.choice(rows, 2, replace=len(rows) < 2)
        angle = rng.uniform(0, np.pi / 2)
        weights = np.zeros(len(self.known))
        weights[rows] = (1 - np.cos(angle) - np.sin(angle)) / len(rows)
        weights[one] += np.cos(angle)
        weights[other] += np.sin(angle)
        drawn = np.tensordot(weights, self._complete, 1)
        return self.table(np.clip(drawn, self._complete.min(axis=0), self._complete.max(axis=0)))


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
    fade: float = 1.0
    """Of lesions' borders, a Gaussian sigma in pixels."""

    @classmethod
    def of(
        cls,
        classes: Sequence[int],
        attributes: Sequence[str],
        people: Sequence[Mapping[str, str]],
        region: bool = False,
        fade: float = 1.0,
    ) -> "Conditions":
        """From the map's classes and the attributes of the training cases."""
        groups = sorted({tuple(one.get(name, "") for name in attributes) for one in people}) if attributes else []
        return cls(tuple(v for v in classes if v < FIRST_CLUSTER), tuple(groups), tuple(attributes), region, fade)

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
        lesion = [codes == value for value in self.labels]
        return np.stack(
            [*np.moveaxis(_blended(codes, table, self.fade, shares), 1, 0), *lesion, codes > 0],
            axis=1,
            dtype=np.float32,
        )

    def within(self, planes: np.ndarray, image: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Planes [item, plane, *space] for painting only a region of an image's head, [item, channel, *space].

        Outside the region [item, *space] bool the image itself stands for the mean image.
        """
        count, inside = image.shape[1], region[:, None]
        canvas = np.where(inside, planes[:, :count], image)
        return np.concatenate([canvas, planes[:, count:], inside], axis=1, dtype=np.float32)


def _blended(codes: np.ndarray, table: np.ndarray, fade: float, shares: np.ndarray | None = None) -> np.ndarray:
    """[item, value, *space]: values of a table [256, value] painted on maps [item, *space]; 0 outside the head.

    Classes pass softly into one another; lesion and tissue are continued across the border between them, and mixed by
    how far from it a voxel is.
    """
    own, out = (codes > 0) & (codes < FIRST_CLUSTER), codes >= FIRST_CLUSTER
    values = table[codes]
    if shares is not None:
        values[out] = shares[:, out].T.astype(np.float32) @ table[FIRST_CLUSTER : FIRST_CLUSTER + len(shares)]
    values = np.moveaxis(values, -1, 0)
    made = _averaged(values, out, SOFT if shares is None else SHARED) * out
    if not own.any():
        return np.moveaxis(made, 0, 1)
    reach = max(fade, SOFT)
    far = math.ceil(FAR * reach)
    hit, *sides = (np.flatnonzero(np.moveaxis(own, axis, 0).any(axis=tuple(range(1, own.ndim)))) for axis in range(3))
    x, y = (slice(max(0, side[0] - far), side[-1] + far + 1) for side in sides)
    inside, outside, mine, plain = own[hit, x, y], out[hit, x, y], values[:, hit, x, y], made[:, hit, x, y]
    lesion = np.where(inside, _averaged(mine, inside, min(PARTS, fade)), _averaged(mine, inside, reach))
    tissue = np.where(inside, _averaged(mine, outside, reach), plain)
    weight = _opacity(inside, outside, fade)
    made[:, hit, x, y] = (weight * lesion + (1 - weight) * tissue) * (inside | outside)
    return np.moveaxis(made, 0, 1)


def _averaged(values: np.ndarray, where: np.ndarray, sigma: float) -> np.ndarray:
    """[value, item, *space] averaged in the plane over what is near and in `where` [item, *space]."""
    flat = (0, sigma, sigma, *[0] * (where.ndim - 3))
    weight = np.maximum(ndimage.gaussian_filter(where.astype(np.float32), flat), 1e-3)
    return np.stack(
        [ndimage.gaussian_filter(np.where(where, one, 0), flat, output=np.float32) / weight for one in values]
    )


def _opacity(lesion: np.ndarray, tissue: np.ndarray, fade: float) -> np.ndarray:
    """Of a lesion [item, x, y, …] bool in tissue: a half at the border between them in the plane, 0 or 1 without."""
    masks = np.stack([lesion, tissue]).reshape(2, *lesion.shape[:3], math.prod(lesion.shape[3:]))
    out = masks[0].astype(np.float32)
    for item, plane in np.argwhere(masks.any(axis=(2, 3)).all(axis=0)):
        inside, outside = masks[:, item, :, :, plane]
        away = np.where(inside, ndimage.distance_transform_edt(~outside), 1 - ndimage.distance_transform_edt(~inside))
        out[item, :, :, plane] = special.ndtr((away - 0.5) / fade)
    return out.reshape(lesion.shape)
