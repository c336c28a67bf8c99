"""What a batch gives away of the patients it was made from: authenticity, membership inference, the smallest leak.

Distances are arrays; a measure that is undefined at these sizes is None.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthgate.stats.neighbours import Groups, nearest_two

FEWEST = 5
"""Patients on each side below which an area under the curve says nothing."""


def authenticity(to_real: np.ndarray, among: np.ndarray, groups: Groups) -> float | None:
    """Share of cases s with d(r*, nearest other real patient) < d(s, r*), r* the nearest real case (2102.08921).

    `to_real` [case, real] and `among` [real, real] are distances, `groups` [real] patients. There is no universal
    cut-off: compare with unseen patients' share.
    """
    if not len(to_real) or len(set(groups)) < 2:
        return None
    other = nearest_two(among, groups, groups).first
    nearest = to_real.argmin(axis=1)
    return float((other[nearest] < to_real[np.arange(len(to_real)), nearest]).mean())


@dataclass(frozen=True)
class Membership:
    """Membership inference by the distance from a patient to the nearest synthetic case."""

    area: float
    """P(a member is nearer to the batch than a non-member), ties halved; 0.5: membership cannot be told."""
    control: tuple[float, float]
    """Where 95 % of the areas of members against members lie: as many of them as there are non-members, re-drawn."""
    p: float
    """Share of draws of the control, this one counted in, with an area at least as large."""


def membership(members: np.ndarray, others: np.ndarray, draws: int, rng: np.random.Generator) -> Membership | None:
    """From distances to the nearest case of the batch: [member] of training patients, [other] of unseen ones.

    The control sets members against members, where an attack that works must fail. None for fewer than five on a side.
    """
    if len(members) < 2 * FEWEST or len(others) < FEWEST:
        return None
    size = min(len(others), len(members) - FEWEST)
    control = []
    for _ in range(draws):
        mixed = rng.permutation(members)
        control.append(_area(mixed[size:], mixed[:size]))
    found = _area(members, others)
    low, high = np.quantile(control, [0.025, 0.975])
    p = (1 + sum(value >= found for value in control)) / (1 + draws)
    return Membership(found, (float(low), float(high)), float(p))


def smallest_leak(cases: int, sensitivity: float | None) -> float | None:
    """Largest leaked share that "no copy found" among `cases` leaves open, at 95 %: 3 / (cases · sensitivity).

    1 where that is more than everything; None without a sensitivity.
    """
    if sensitivity is None or not math.isfinite(sensitivity) or sensitivity <= 0 or cases < 1:
        return None
    return min(1.0, 3 / (cases * sensitivity))


def _area(near: np.ndarray, far: np.ndarray) -> float:
    less, same = near[:, None] < far[None], near[:, None] == far[None]
    return float((less + same / 2).mean())
