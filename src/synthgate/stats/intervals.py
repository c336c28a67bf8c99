"""Intervals for means over patients, and over patients × draws. Undefined (one patient) is None."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

POWER = 0.8
"""Chance of being noticed that makes an effect one that could have been seen."""


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided interval and the degrees of freedom it stands on."""

    mean: float
    low: float
    high: float
    df: float

    def smallest(self, margin: float, error: float) -> float:
        """Smallest true loss that would be shown, at this one-sided error, to be one, and to exceed the margin.

        With probability POWER, for an interval of confidence 1 − 2·error.
        """
        half = (self.high - self.low) / 2
        spread = half / float(stats.t.ppf(1 - error, self.df))
        return max(margin, half) + float(stats.t.ppf(POWER, self.df)) * spread


def t_interval(values: np.ndarray, confidence: float) -> Interval | None:
    """Student's interval for the mean of one value per patient; None below two patients."""
    values = _finite(values)
    if len(values) < 2:
        return None
    return _interval(float(values.mean()), float(values.var(ddof=1)) / len(values), len(values) - 1, confidence)


def paired(a: np.ndarray, b: np.ndarray, confidence: float) -> Interval | None:
    """Interval for the mean of a − b, patient by patient."""
    return t_interval(_finite(a) - _finite(b), confidence)


def difference(a: np.ndarray, b: np.ndarray, confidence: float) -> Interval | None:
    """Welch's interval for mean(a) − mean(b) of two groups of patients; None below two in either."""
    a, b = _finite(a), _finite(b)
    if min(len(a), len(b)) < 2:
        return None
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    df = _satterthwaite(parts, np.array([len(a) - 1, len(b) - 1]))
    return _interval(float(a.mean() - b.mean()), float(parts.sum()), df, confidence)


def two_way(y: np.ndarray, confidence: float) -> Interval | None:
    """Interval for the mean of y [patient, draw], patients and draws both random, one value per cell.

    Var(mean) = (MS_patients + MS_draws − MS_error)/(patients·draws), degrees of freedom by Satterthwaite. It is never
    taken below what the patients or the draws alone imply. One draw: Student's interval over patients, which then says
    nothing about other draws. None below two patients.
    """
    y = _finite(y)
    if y.ndim != 2:
        raise ValueError(f"expected [patient, draw], got shape {y.shape}")
    patients, draws = y.shape
    if patients < 2 or not draws:
        return None
    if draws == 1:
        return t_interval(y[:, 0], confidence)
    mean = float(y.mean())
    rows, columns = y.mean(axis=1), y.mean(axis=0)
    squares = np.array(
        [
            draws * rows.var(ddof=1),
            patients * columns.var(ddof=1),
            ((y - rows[:, None] - columns[None] + mean) ** 2).sum() / ((patients - 1) * (draws - 1)),
        ]
    )
    df = np.array([patients - 1, draws - 1, (patients - 1) * (draws - 1)])
    signed = squares * [1, 1, -1]
    alone = int(squares[:2].argmax())
    if squares[alone] >= signed.sum():
        variance, freedom = squares[alone], float(df[alone])
    else:
        variance, freedom = signed.sum(), _satterthwaite(signed, df)
    return _interval(mean, float(variance) / y.size, freedom, confidence)


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("expected finite values; leave out patients where the metric is undefined, and count them")
    return values


def _satterthwaite(parts: np.ndarray, df: np.ndarray) -> float:
    bottom = float((parts**2 / df).sum())
    return float(parts.sum()) ** 2 / bottom if bottom > 0 else float(df.sum())


def _interval(mean: float, variance: float, df: float, confidence: float) -> Interval:
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * float(np.sqrt(variance))
    return Interval(mean, mean - half, mean + half, float(df))
