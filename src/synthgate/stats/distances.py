"""Distances between points and between samples. Rows are cases; a distance that is undefined is None, never NaN."""

import numpy as np


def pairwise(a: np.ndarray, b: np.ndarray, *, chunk: int = 1024) -> np.ndarray:
    """Euclidean distances of the rows of `a` [n, d] to those of `b` [m, d] → [n, m] float64, `chunk` rows at a time."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    # about a common centre the expanded square loses fewer digits
    centre = b.mean(axis=0) if len(b) else 0.0
    a, b = a - centre, b - centre
    norms = (b**2).sum(axis=1)
    out = np.empty((len(a), len(b)))
    for start in range(0, len(a), chunk):
        part = a[start : start + chunk]
        square = (part**2).sum(axis=1)[:, None] + norms - 2 * part @ b.T
        # what is left of equal rows by rounding is no distance
        square[square < 1e-12 * (1 + (part**2).sum(axis=1)[:, None] + norms)] = 0
        out[start : start + chunk] = np.sqrt(square)
    return out


def energy(a: np.ndarray, b: np.ndarray) -> float | None:
    """Energy distance 2E‖X−Y‖ − E‖X−X'‖ − E‖Y−Y'‖ (Székely & Rizzo 2013); None for an empty sample."""
    if not len(a) or not len(b):
        return None
    value = 2 * pairwise(a, b).mean() - pairwise(a, a).mean() - pairwise(b, b).mean()
    return max(0.0, float(value))


def energy_under(distances: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Energy distances between the masked and the other rows of one distance matrix.

    `distances` is [n, n], `masks` bool [permutation, n] → [permutation]; every mask must split the rows in two.
    """
    inside = masks / masks.sum(axis=1, keepdims=True)
    outside = ~masks / (~masks).sum(axis=1, keepdims=True)
    contrast = inside - outside
    return -np.einsum("pi,pi->p", contrast @ distances, contrast)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float | None:
    """Unbiased MMD² with the cubic kernel (x·y/d + 1)³, known as KID (Bińkowski 2018); None below two cases each.

    Its null mean is 0, so it may be negative.
    """
    n, m = len(a), len(b)
    if n < 2 or m < 2:
        return None

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    aa, bb, ab = kernel(a, a), kernel(b, b), kernel(a, b)
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


def frechet(a: np.ndarray, b: np.ndarray) -> float | None:
    """Fréchet distance ‖μ_a−μ_b‖² + Tr(Σ_a+Σ_b−2(Σ_aΣ_b)^½) of two Gaussian fits; None below two cases each.

    Biased upwards at small n: compare only at equal sizes.
    """
    if len(a) < 2 or len(b) < 2:
        return None
    one, two = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    # Tr (Σ_aΣ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½, which needs no complex square root
    cross = np.linalg.svd(_root(one) @ _root(two), compute_uv=False).sum()
    gap = a.mean(axis=0) - b.mean(axis=0)
    return max(0.0, float(gap @ gap + np.trace(one) + np.trace(two) - 2 * cross))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def spreads(values: np.ndarray) -> np.ndarray:
    """Standard deviation of what is known of each column of [n, d], NaN for undefined; 0 where it is negligible."""
    parts = [part[~np.isnan(part)] for part in values.T]
    found = np.array([part.std() if len(part) else 0.0 for part in parts])
    return np.where(found < 1e-12, 0.0, found)


def quantile_distances_under(values: np.ndarray, masks: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    """Per column, the mean distance between the quantile functions of the masked and of the other rows.

    This is the 1-Wasserstein distance in the given unit [d], `spreads` of the values by default. `values` is [n, d]
    with NaN for undefined, `masks` bool [permutation, n] → [permutation, d]; a column with one side empty, or with a
    unit of 0, gives 0.
    """
    out = np.zeros((len(masks), values.shape[1]))
    unit = spreads(values) if unit is None else unit
    for column, part in enumerate(values.T):
        if not unit[column]:
            continue
        known = np.flatnonzero(~np.isnan(part))
        order = known[np.argsort(part[known], kind="stable")]
        gaps = np.diff(part[order]) / unit[column]
        inside = masks[:, order]
        counts = inside.sum(axis=1, keepdims=True)
        others = len(order) - counts
        below = np.cumsum(inside, axis=1)
        rank = np.arange(1, len(order) + 1)
        apart = np.abs(below / np.maximum(counts, 1) - (rank - below) / np.maximum(others, 1))[:, :-1]
        out[:, column] = np.where(((counts > 0) & (others > 0))[:, 0], apart @ gaps, 0.0)
    return out
