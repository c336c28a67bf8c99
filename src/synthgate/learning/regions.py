"""Regions: nested unions of label values, as a segmenter sees them, and their overlap."""

from collections.abc import Mapping

import numpy as np

Regions = Mapping[str, tuple[int, ...]]


def to_regions(label: np.ndarray, regions: Regions) -> np.ndarray:
    """[...] label values → [region, ...] bool, in the order of `regions`."""
    return np.stack([np.isin(label, values) for values in regions.values()])


def to_label(probabilities: np.ndarray, regions: Regions) -> np.ndarray:
    """[region, ...] probabilities → [...] uint8.

    Regions are nested, largest first: a voxel gets the value that tells its innermost region from the next one. A
    voxel outside a region is outside all that lie in it.
    """
    order = list(regions.values())
    label = np.zeros(probabilities.shape[1:], np.uint8)
    inside = np.ones(probabilities.shape[1:], bool)
    for index, values in enumerate(order):
        inside &= probabilities[index] > 0.5
        following = order[index + 1] if index + 1 < len(order) else ()
        label[inside] = min(set(values) - set(following), default=min(values))
    return label


def dice(prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """Dice overlap of two bool arrays; None (undefined) where the truth is empty, whatever is predicted."""
    if not truth.any():
        return None
    return 2.0 * int((prediction & truth).sum()) / (int(prediction.sum()) + int(truth.sum()))
