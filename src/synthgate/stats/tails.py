"""The far tail of a small sample, extrapolated."""

import numpy as np

TAIL = 0.25
"""Share of the values whose excess over the rest is taken to be exponential."""
FEWEST = 8
"""Values below which nothing is extrapolated."""


def tail_limit(values: np.ndarray, rate: float) -> float | None:
    """The value that a share `rate` of fresh values would exceed; None for fewer than eight values.

    Inside the sample it is the empirical quantile; beyond it the tail above three quarters of the values is taken to be
    exponential (Pickands–Balkema–de Haan with shape 0, to which gaps between nearest neighbours tend). Its scale is
    known by k excesses only: a fresh one over their mean is distributed as F(2, 2k), which the limit allows for.
    """
    values = np.sort(np.asarray(values, float))
    if len(values) < FEWEST:
        return None
    count = int(TAIL * len(values))
    body = float(values[-count - 1])
    # fresh values exceed `body` in a share of (k + 1) / (n + 1); of these (1 + excess / (k · mean))^-k exceed the limit
    beyond = count * (max((count + 1) / (len(values) + 1) / rate, 1.0) ** (1 / count) - 1)
    extrapolated = body + float((values[-count:] - body).mean()) * beyond
    empirical = float(np.quantile(values, 1 - rate, method="higher"))
    return max(extrapolated, empirical)
