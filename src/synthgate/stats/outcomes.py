"""What a difference in a metric says about harm and benefit."""

from typing import Literal

from synthgate.stats.intervals import Interval

Outcome = Literal["gain", "no harm", "harm", "inconclusive"]


def outcome_of(difference: Interval | None, margin: float) -> Outcome:
    """gain: above zero; no harm: above -margin; harm: below zero; else (or undefined) inconclusive."""
    if difference is None:
        return "inconclusive"
    if difference.low > 0:
        return "gain"
    if difference.low > -margin:
        return "no harm"
    return "harm" if difference.high < 0 else "inconclusive"
