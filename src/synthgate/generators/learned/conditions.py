"""What a learned painter is told of a slice: the mean image of its classes, its lesion, its head; and its attributes.

The mean image paints every class of the label map (lesion labels, intensity clusters) with the mean intensity it has in
a patient: the patient's *style*. Painters learn what is left, the residual, so a style holds for a whole volume.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthgate.generators.anatomy import FIRST_CLUSTER

VALUES = 256
"""Map values there can be."""
SOFT = 0.5
"""Gaussian sigma in pixels of the mean image: classes pass into one another as tissues do."""


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
        usual = np.nanmean(self.means, axis=0)
        table = np.zeros((VALUES, means.shape[-1]), np.float32)
        table[list(self.classes)] = np.where(np.isfinite(means), means, np.where(np.isfinite(usual), usual, 0.5))
        return table

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

    @classmethod
    def of(cls, classes: Sequence[int], attributes: Sequence[str], people: Sequence[Mapping[str, str]]) -> "Conditions":
        """From the map's classes and the attributes of the training cases."""
        groups = sorted({tuple(one.get(name, "") for name in attributes) for one in people}) if attributes else []
        return cls(tuple(v for v in classes if v < FIRST_CLUSTER), tuple(groups), tuple(attributes))

    def channels(self, images: int) -> int:
        """Planes of a condition, for images of so many channels."""
        return images + len(self.labels) + 1

    def group(self, person: Mapping[str, str]) -> int:
        """The class of these attributes; 0 where the training had nobody like that."""
        wanted = tuple(person.get(name, "") for name in self.attributes)
        return self.groups.index(wanted) + 1 if wanted in self.groups else 0

    def planes(self, codes: np.ndarray, table: np.ndarray) -> np.ndarray:
        """[item, *space] map values and a style's table → [item, plane, *space] float32: mean image, lesion, head."""
        head = (codes > 0).astype(np.float32)
        lesion = [codes == value for value in self.labels]
        flat = (0, SOFT, SOFT, *[0] * (codes.ndim - 3))
        weight = np.maximum(ndimage.gaussian_filter(head, flat), 1e-3)
        mean = [ndimage.gaussian_filter(part, flat) / weight * head for part in np.moveaxis(table[codes], -1, 0)]
        return np.stack([*mean, *lesion, head], axis=1).astype(np.float32)
