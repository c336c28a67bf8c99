"""Radiomic descriptors by the definitions of the Image Biomarker Standardisation Initiative (IBSI, 1612.07003).

Grey levels: fixed bin number, LEVELS over the region's own range, so that texture does not depend on the unit of
intensity. Co-occurrence: symmetric, at distance 1 in the four directions of an axial slice, counted in one matrix for
all slices and directions (IBSI 2.5D, merged; 40QB). Where a number cannot be computed it is None, never 0 or NaN.
"""

import numpy as np

from synthgate.features.descriptors import Descriptors
from synthgate.features.head import box_of, head_of

LEVELS = 32
STEPS = ((1, 0), (0, 1), (1, 1), (1, -1))
"""In-plane neighbours (x, y), one of each opposite pair."""
FIRST_ORDER = (
    "mean", "variance", "skewness", "kurtosis", "median", "percentile_10", "percentile_90", "interquartile_range",
    "root_mean_square", "intensity_entropy", "intensity_uniformity",
)  # fmt: skip
TEXTURE = (
    "joint_entropy", "angular_second_moment", "contrast", "dissimilarity", "inverse_difference_normalised",
    "inverse_difference_moment", "correlation", "cluster_shade", "cluster_prominence",
)  # fmt: skip
NAMES = FIRST_ORDER + TEXTURE


def describe(image: np.ndarray, label: np.ndarray, channels: tuple[str, ...]) -> Descriptors:
    """NAMES of each channel over the head and over the lesion, as `<channel>_<head|lesion>_<name>`.

    `image` is float32 [channel, x, y, z], 0 outside the head; `label` [x, y, z], above 0 within the lesion.
    """
    regions = {"head": head_of(image), "lesion": label > 0}
    return {
        f"{channel}_{region}_{name}": value
        for channel, volume in zip(channels, image, strict=True)
        for region, mask in regions.items()
        for name, value in radiomics(volume, mask).items()
    }


def radiomics(image: np.ndarray, mask: np.ndarray) -> Descriptors:
    """NAMES of one image [x, y, z] over a bool mask [x, y, z]; None for an empty one, or with numbers not finite.

    Constant intensities have a mean but no shape and no texture.
    """
    found: Descriptors = dict.fromkeys(NAMES)
    box = box_of(mask)
    if box is None:
        return found
    image, mask = np.moveaxis(image[box], 2, 0), np.moveaxis(mask[box], 2, 0)
    values = image[mask].astype(np.float64)
    if not np.isfinite(values).all():
        return found
    found |= _intensities(values)
    low, high = float(values.min()), float(values.max())
    if not 0 < high - low < np.inf:
        return found
    # IBSI fixed bin number: floor(N (x − min) / (max − min)), the maximum in the last bin
    bins = np.minimum((LEVELS * (values - low) / (high - low)).astype(np.int16), LEVELS - 1)
    shares = np.bincount(bins, minlength=LEVELS) / len(bins)
    found |= {"intensity_entropy": _entropy(shares), "intensity_uniformity": float(shares @ shares)}
    # outside the region: a level of its own, which the count then leaves out
    levels = np.full(mask.shape, LEVELS, np.int16)
    levels[mask] = bins
    return found | _texture(_cooccurrence(levels))


def _intensities(values: np.ndarray) -> Descriptors:
    """IBSI statistical features; kurtosis is in excess of the normal distribution's."""
    mean = values.mean()
    apart = values - mean
    squares = apart * apart
    variance = float(squares.mean())
    # what is left of equal numbers by rounding is no spread
    shaped = values.min() < values.max() and variance**2 > 0
    tenth, quarter, middle, three_quarters, ninetieth = np.percentile(values, (10, 25, 50, 75, 90))
    return {
        "mean": float(mean),
        "variance": variance,
        "skewness": float((squares * apart).mean() / variance**1.5) if shaped else None,
        "kurtosis": float((squares * squares).mean() / variance**2 - 3) if shaped else None,
        "median": float(middle),
        "percentile_10": float(tenth),
        "percentile_90": float(ninetieth),
        "interquartile_range": float(three_quarters - quarter),
        "root_mean_square": float(np.sqrt(values @ values / len(values))),
    }


def _cooccurrence(levels: np.ndarray) -> np.ndarray:
    """Symmetric counts [LEVELS, LEVELS] of neighbouring levels [slice, x, y], all slices and directions in one."""
    side = LEVELS + 1
    counts = np.zeros(side * side, np.int64)
    _, width, height = levels.shape
    for x, y in STEPS:
        one = levels[:, : width - x, max(-y, 0) : height - max(y, 0)]
        other = levels[:, x:, max(y, 0) : height - max(-y, 0)]
        counts += np.bincount((one * np.int16(side) + other).ravel(), minlength=side * side)
    square = counts.reshape(side, side)[:LEVELS, :LEVELS]
    return square + square.T


def _texture(counts: np.ndarray) -> Descriptors:
    """IBSI features of a co-occurrence matrix; None without neighbours, no correlation where all levels are equal."""
    total = int(counts.sum())
    if not total:
        return {}
    p = counts / total
    level = np.arange(1, LEVELS + 1)
    i, j = level[:, None], level[None]
    gap = np.abs(i - j)
    edge = p.sum(axis=1)
    mean = float(level @ edge)
    variance = float((level - mean) ** 2 @ edge)
    around = i + j - 2 * mean
    return {
        "joint_entropy": _entropy(p),
        "angular_second_moment": float((p**2).sum()),
        "contrast": float((gap**2 * p).sum()),
        "dissimilarity": float((gap * p).sum()),
        "inverse_difference_normalised": float((p / (1 + gap / LEVELS)).sum()),
        "inverse_difference_moment": float((p / (1 + gap**2)).sum()),
        "correlation": float(((i - mean) * (j - mean) * p).sum() / variance) if variance > 1e-12 else None,
        "cluster_shade": float((around**3 * p).sum()),
        "cluster_prominence": float((around**4 * p).sum()),
    }


def _entropy(shares: np.ndarray) -> float:
    """In bits."""
    known = shares[shares > 0]
    return float(-(known * np.log2(known)).sum()) + 0.0
