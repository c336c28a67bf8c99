"""Distances between points and between samples. Rows are cases; a distance that is undefined is None, never NaN."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

TILE = 1024
"""Rows and columns of the products that a kernel is summed over: 4 MiB of float32, within a core's cache."""


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

    Its null mean is 0, so it may be negative. None also where a number is not finite, or too large for its cube.
    """
    n, m = len(a), len(b)
    if n < 2 or m < 2:
        return None
    # in float64 where that is quickly done; the mean of so many products in float32 is as good to eight digits
    dtype = np.float64 if max(n, m) <= TILE else np.float32
    one, two = ((np.asarray(part, np.float64) / np.sqrt(part.shape[1])).astype(dtype) for part in (a, b))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # a sample of a single tile is done before a thread has started
        run = pool.map if max(n, m) > TILE else map
        among = [sum(run(functools.partial(_among, part), range(0, len(part), TILE))) for part in (one, two)]
        across = sum(run(lambda start: _across(one[start : start + TILE], two), range(0, n, TILE)))
    value = among[0] / (n * (n - 1)) + among[1] / (m * (m - 1)) - 2 * across / (n * m)
    return float(value) if np.isfinite(value) else None


def _among(x: np.ndarray, start: int) -> float:
    """Sum of the cubic kernel over ordered pairs of different rows, from the tiles on and right of the diagonal."""
    rows = x[start : start + TILE]
    with np.errstate(over="ignore", invalid="ignore"):
        own = rows @ rows.T + 1
    np.fill_diagonal(own, 0)
    return _sum_of_cubes(own) + 2 * _across(rows, x[start + TILE :])


def _across(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of the cubic kernel over all pairs of a row of x and one of y, tile by tile."""
    total = 0.0
    for start in range(0, len(y), TILE):
        with np.errstate(over="ignore", invalid="ignore"):
            total += _sum_of_cubes(x @ y[start : start + TILE].T + 1)
    return total


def _sum_of_cubes(values: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        cubes = values * values
        cubes *= values
        return float(cubes.sum(dtype=np.float64))


def frechet(a: np.ndarray, b: np.ndarray) -> float | None:
    """Fréchet distance ‖μ_a−μ_b‖² + Tr(Σ_a+Σ_b−2(Σ_aΣ_b)^½) of two Gaussian fits; None below two cases each.

    Biased upwards at small n: compare only at equal sizes. None also where a number is not finite.
    """
    if len(a) < 2 or len(b) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    middles = [part.mean(axis=0, dtype=np.float64) for part in (a, b)]
    one, two = (_factor(part - middle) for part, middle in zip((a, b), middles, strict=True))
    gap = middles[0] - middles[1]
    # with Σ_a = AᵀA and Σ_b = BᵀB, Tr (Σ_aΣ_b)^½ is the sum of the singular values of ABᵀ: no root of a matrix
    cross = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + np.vdot(one, one) + np.vdot(two, two) - 2 * cross))


def _factor(centred: np.ndarray) -> np.ndarray:
    """A with as few rows as need be and AᵀA the covariance of centred [n, d]."""
    if len(centred) <= centred.shape[1]:
        return centred / np.sqrt(len(centred) - 1)
    covariance = centred.T @ centred / (len(centred) - 1)
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:  # singular, as where a column is constant
        values, vectors = np.linalg.eigh(covariance)
        return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T


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
