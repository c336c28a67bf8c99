"""How varied a sample is."""

import numpy as np

from synthgate.stats.distances import pairwise


def median_distance(distances: np.ndarray) -> float:
    """The median distance of different cases in [n, n]; 0 below two."""
    apart = distances[np.triu_indices(len(distances), 1)]
    return float(np.median(apart)) if len(apart) else 0.0


def gaussian_kernel(distances: np.ndarray, width: float | None = None) -> np.ndarray | None:
    """Similarities exp(−d²/2h²) with h the width, `median_distance` by default; None where that is 0."""
    width = median_distance(distances) if width is None else width
    return np.exp(-(distances**2) / (2 * width**2)) if width > 0 else None


def vendi(similarity: np.ndarray) -> float | None:
    """Vendi score (2210.02410): exp of the entropy of the eigenvalues of K/n, the effective number of distinct cases.

    `similarity` is [n, n], symmetric, with ones on its diagonal; None for no case.
    """
    return float(vendi_under(similarity, np.arange(len(similarity))[None])[0]) if len(similarity) else None


def vendi_under(similarity: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Vendi scores of several choices of rows: `rows` int [permutation, n] → [permutation]."""
    parts = similarity[rows[:, :, None], rows[:, None, :]]
    weights = np.clip(np.linalg.eigvalsh(parts / rows.shape[1]), 0, None)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return np.exp(-(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=1))


def mean_distance(points: np.ndarray) -> float | None:
    """Mean distance of different cases; None below two."""
    n = len(points)
    return float(pairwise(points, points).sum() / (n * (n - 1))) if n > 1 else None
