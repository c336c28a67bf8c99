"""Permutation nulls: batch and reference pooled, relabelled by patient, several statistics judged at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthgate.stats.intervals import POWER


def relabelled(
    groups: Sequence[str] | np.ndarray, batch: np.ndarray, permutations: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Random relabellings that keep groups whole: bool [1 + permutations, case]; the first row is the one observed.

    As many groups become the batch as are the batch's own (`batch` is bool [case]). None where a group is in both, or
    where a side has none: nothing can be exchanged then.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    ours = np.unique(index[batch])
    if not 0 < len(ours) < len(names) or np.isin(index[~batch], ours).any():
        return None
    order = rng.random((permutations, len(names))).argpartition(len(ours) - 1, axis=1)[:, : len(ours)]
    chosen = np.zeros((permutations, len(names)), bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return np.concatenate([np.asarray(batch, bool)[None], chosen[:, index]])


@dataclass(frozen=True)
class Adjusted:
    """Step-down maxT over several statistics, each large when the batch is wrong; arrays are [statistic]."""

    value: np.ndarray
    p: np.ndarray
    """Adjusted for all the statistics; monotone in the order of rejection."""
    limit: np.ndarray
    """Null quantile plus tolerance: above it the statistic is refused at the error budget."""
    low: np.ndarray
    high: np.ndarray
    """Between these lie the middle nine tenths of the null."""
    smallest: np.ndarray
    """Smallest true departure that would be refused with probability POWER: what the null leaves below the limit."""


def step_down(statistics: np.ndarray, error: float, tolerance: np.ndarray | float = 0.0) -> Adjusted:
    """Judge statistics [1 + permutation, statistic], the first row observed (Westfall & Young 1993, step-down maxT).

    Each is standardised by all of its rows, which is blind to the label. The observed one competes after its tolerance
    is taken off. A statistic without spread says nothing (limit inf, p 1): the caller must call it undefined. Raises
    ValueError for statistics that are not finite, which would compare as if they were fine.
    """
    if not np.isfinite(statistics).all() or not np.isfinite(tolerance).all():
        raise ValueError("expected finite statistics and tolerances; leave out what is undefined, and say so")
    count, width = statistics.shape
    centre, spread = statistics.mean(axis=0), statistics.std(axis=0)
    alive = spread > 1e-12 * np.maximum(1, np.abs(centre))
    scale = np.where(alive, spread, 1.0)
    tolerance = np.broadcast_to(np.asarray(tolerance, float), (width,))
    observed = np.where(alive, (statistics[0] - tolerance - centre) / scale, -np.inf)
    null = np.where(alive, (statistics[1:] - centre) / scale, -np.inf)
    allowed = int(np.floor(error * count + 1e-9))

    p, cut = np.ones(width), np.full(width, np.inf)
    order, floor, open_ = np.argsort(-observed, kind="stable"), 0.0, True
    for place, index in enumerate(order):
        if not alive[index]:
            continue
        highest = null[:, order[place:]].max(axis=1)
        floor = max(floor, (1 + int((highest >= observed[index]).sum())) / count)
        p[index] = floor
        if open_:
            level = -np.partition(-highest, allowed - 1)[allowed - 1] if allowed else np.inf
        # once one is kept, all that follow keep its level: they cannot be refused any more
        cut[index] = level
        open_ = open_ and observed[index] > level
    limit = np.where(alive, centre + cut * scale + tolerance, np.inf)
    low, high, weak = np.quantile(statistics[1:], [0.05, 0.95, 1 - POWER], axis=0)
    return Adjusted(statistics[0].copy(), p, limit, low, high, limit - weak)
