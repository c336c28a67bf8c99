"""The exact multinomial test of counts against wished shares."""

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import gammaln

MOST = 200_000
"""Outcomes that are enumerated; above it, as many are drawn."""


def multinomial_p(counts: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> float | None:
    """P(an outcome no likelier than `counts`) under multinomial(n, shares); None for no counts.

    `counts` and `shares` are [group]. Exact by enumeration where the outcomes are few, else Monte Carlo with the
    observed one counted. Raises ValueError for shares that are not a distribution.
    """
    counts, shares = np.asarray(counts, int), np.asarray(shares, float)
    if (shares < 0).any() or not math.isclose(float(shares.sum()), 1, abs_tol=1e-6):
        raise ValueError(f"expected shares that sum to 1, got {shares.tolist()}")
    n, k = int(counts.sum()), len(counts)
    if not n:
        return None
    observed = _log_likelihood(counts[None], shares)[0]
    if math.comb(n + k - 1, k - 1) <= MOST:
        likely = _log_likelihood(np.array(list(_outcomes(n, k))), shares)
        return min(1.0, float(np.exp(likely[likely <= observed + 1e-9]).sum()))
    drawn = _log_likelihood(rng.multinomial(n, shares, MOST), shares)
    return float((1 + (drawn <= observed + 1e-9).sum()) / (1 + MOST))


def _outcomes(n: int, groups: int) -> Iterator[tuple[int, ...]]:
    if groups == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in _outcomes(n - first, groups - 1):
            yield (first, *rest)


def _log_likelihood(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(counts > 0, counts * np.log(shares), 0.0)
    return np.asarray(gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1) + terms.sum(axis=1))
