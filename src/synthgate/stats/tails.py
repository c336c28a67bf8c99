"""The far tail of a small sample, extrapolated."""

import numpy as np

BODY = 0.75
"""Quantile above which the tail is taken to be exponential."""
FEWEST = 8
"""Values below which nothing is extrapolated."""


def tail_limit(values: np.ndarray, rate: float) -> float | None:
    """The value that a share `rate` of fresh values would exceed; None for fewer than eight values.

    Inside the sample it is the empirical quantile; beyond it an exponential tail above the 75 % quantile with the mean
    excess found there (Pickands–Balkema–de Haan with shape 0, to which gaps between nearest neighbours tend).
    """
    values = np.sort(np.asarray(values, float))
    if len(values) < FEWEST:
        return None
    body = float(np.quantile(values, BODY))
    over = values[values > body] - body
    # the mean excess of a handful of values is uncertain: one standard error is added
    mean = float(over.mean()) * (1 + 1 / np.sqrt(len(over))) if len(over) else 0.0
    extrapolated = body + mean * np.log(max((1 - BODY) / rate, 1.0))
    empirical = float(np.quantile(values, 1 - rate, method="higher"))
    return max(extrapolated, empirical)
