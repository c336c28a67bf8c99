"""Which points lie in which balls, exactly, without ever holding all distances.

Float32 products give a lower bound of each squared distance, tile by tile; the few pairs that rounding leaves open are
decided in float64 from the differences themselves, so that ties and copies come out as they are.
"""

from dataclasses import dataclass

import numpy as np

GROUPS = 128
"""Points per group of which one minimum is kept while a row's nearest points are searched."""
TILE = 8 * GROUPS
"""Rows and columns of a tile: 4 MiB of float32, which stays in a core's cache."""
PAIRS = 2**17
"""Numbers in one go of float64 differences: 1 MiB, within the cache ten times as fast as 32."""
CANDIDATES = 2**19
"""Pairs to be measured exactly that may pile up: only among near-copies are there as many."""
TINY = 1e-30
"""What float32 may lose below its smallest numbers, in squared units of the largest coordinate."""


@dataclass(frozen=True)
class Points:
    """Points [n, d] lifted so that `left @ right.T` bounds their squared distances from below.

    left is (x, (1−c)‖x‖², 1), right (−2x, 1, (1−c)‖x‖²); c covers the rounding of coordinates, norms and products in
    whatever order they are summed (Higham 2002, §3.1). Both are padded to whole groups by points at infinity.
    """

    exact: np.ndarray
    norms: np.ndarray
    left: np.ndarray
    right: np.ndarray
    slack: float

    @classmethod
    def of(cls, exact: np.ndarray, centre: np.ndarray) -> "Points":
        """Lift float64 points about a centre, of which their distances do not depend."""
        n, d = exact.shape
        slack = (2 * d + 16) * 2.0**-24
        about = (exact - centre).astype(np.float32)
        norms = np.einsum("ij,ij->i", about, about, dtype=np.float64)
        left = np.zeros((-(-n // GROUPS) * GROUPS, d + 2), np.float32)
        right = np.zeros_like(left)
        left[:n, :d], right[:n, :d] = about, -2 * about
        left[:, d], left[:, d + 1] = np.inf, 1
        left[:n, d] = (1 - slack) * norms
        right[:, d], right[:, d + 1] = left[:, d + 1], left[:, d]
        return cls(exact, norms, left, right, slack)

    def __len__(self) -> int:
        return len(self.exact)


def in_one_unit(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Two samples as float64 of at most 1; None where a number is not finite.

    Divided by a power of two, which changes no digit and keeps squares from overflowing.
    """
    largest = max(float(np.abs(part).max(initial=0)) for part in (a, b))
    if not np.isfinite(largest):
        return None
    exponent = -int(np.frexp(largest)[1])
    return np.ldexp(np.asarray(a, np.float64), exponent), np.ldexp(np.asarray(b, np.float64), exponent)


def squared_distances(a: Points, b: Points, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """‖a[rows] − b[columns]‖² in float64, pair by pair; the same number for (x, y) as for (y, x)."""
    out = np.empty(len(rows))
    step = max(1, PAIRS // max(1, a.exact.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        apart = a.exact[rows[part]] - b.exact[columns[part]]
        out[part] = np.einsum("ij,ij->i", apart, apart)
    return out


def radii(sample: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [n] of each row of a float64 sample [n, d] to its k-th nearest other; n is above k.

    Each product of two tiles serves the rows of both. On the way `best` holds k bounds per point, from k others; the
    largest limits what is sought: whatever is not above it becomes a candidate, to be measured exactly.
    """
    points = Points.of(sample, sample.mean(axis=0))
    n = len(points.left)
    best = np.full((n, k), np.inf, np.float32)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for first in tiles(n):
        for second in tiles(n, first.start):
            low = points.left[first] @ points.right[second].T
            sides = [(first, second, low)]
            if first == second:
                np.fill_diagonal(low, np.inf)
            else:
                sides.append((second, first, low.T))
            for own, others, part in sides:
                best[own] = _smallest(best[own], part)
                i, j = _up_to(part, _limits(points, best[own].max(axis=1), own)[:, None])
                found.append((i + own.start, j + others.start))
            if sum(len(i) for i, _ in found) > CANDIDATES:
                found = [_nearest(points, found, k)[:2]]
    _, _, squares = _nearest(points, found, k)
    return squares.reshape(len(sample), k)[:, -1]


def _nearest(
    points: Points, found: list[tuple[np.ndarray, np.ndarray]], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of candidate pairs, the k nearest of each row in order: row, column and squared distance."""
    i, j = (np.concatenate(parts) for parts in zip(*found, strict=True))
    squares = squared_distances(points, points, i, j)
    order = np.lexsort((squares, i))
    i, j, squares = i[order], j[order], squares[order]
    kept = np.arange(len(i)) - np.searchsorted(i, i) < k
    return i[kept], j[kept], squares[kept]


def inside(
    a: Points, b: Points, of_a: np.ndarray, of_b: np.ndarray, rows: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Balls around `rows` of a and around b [m], of squared radii `of_a` [n] and `of_b`; the rim is outside.

    Returns [m] in how many of the rows' balls each of b lies, [row] which balls are hit, [row] which rows are in a ball
    of b.
    """
    counts, hit, within = np.zeros(len(b), np.int64), np.zeros(len(of_a[rows]), bool), np.zeros(len(of_a[rows]), bool)
    for columns in tiles(len(b)):
        low = a.left[rows] @ b.right[columns].T
        i, j = _below(a, b, rows, columns, low, of_a[rows, None])
        counts[columns] += np.bincount(j, minlength=low.shape[1])
        hit[i] = True
        i, _ = _below(a, b, rows, columns, low, of_b[None, columns])
        within[i] = True
    return counts, hit, within


def tiles(n: int, start: int = 0) -> list[slice]:
    """Slices of at most TILE that cover start..n."""
    return [slice(first, min(first + TILE, n)) for first in range(start, n, TILE)]


def _smallest(best: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The k smallest of [n, k] and of the groups' minima of [n, m]: different points, and nearly the k nearest."""
    k = best.shape[1]
    if 8 * k <= GROUPS:
        low = low.reshape(len(low), -1, GROUPS).min(axis=1)
    return np.partition(np.concatenate([best, low], axis=1), k - 1, axis=1)[:, :k]


def _limits(points: Points, largest: np.ndarray, rows: slice) -> np.ndarray:
    """Bounds [n] above squared distances, from the largest of the lower bounds of k others.

    A lower bound s errs by 2c(‖x‖² + ‖y‖²) at most, and ‖y‖² ≤ 2‖x‖² + 2d², so that d² ≤ (s + 6c‖x‖²)/(1 − 4c).
    """
    norms = np.zeros(len(largest))
    norms[: len(points.norms[rows])] = points.norms[rows]
    return (largest + 6 * points.slack * norms) / (1 - 4 * points.slack)


def _up_to(low: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column where lower bounds [n, m] do not exclude a squared distance of `limits` [n, 1] or [1, m].

    Never where the bound is infinite, as it is for padding.
    """
    above = np.nextafter((limits + TINY).astype(np.float32), np.float32(np.inf))
    found = low <= np.minimum(above, np.finfo(np.float32).max)
    # few and far between, which the flat search finds several times as fast as the one by rows and columns
    return np.divmod(np.flatnonzero(found), low.shape[1])


def _below(
    a: Points, b: Points, rows: slice, columns: slice, low: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, within the tile, of the pairs whose squared distance is below `limits` [n, 1] or [1, m]."""
    i, j = _up_to(low, limits)
    limit = np.broadcast_to(limits, low.shape)[i, j]
    x, y = i + rows.start, j + columns.start
    sure = low[i, j] + 2 * a.slack * (a.norms[x] + b.norms[y]) + TINY < limit
    unsure = np.flatnonzero(~sure)
    sure[unsure] = squared_distances(a, b, x[unsure], y[unsure]) < limit[unsure]
    return i[sure], j[sure]
