"""Single cases that lie far from every patient: faults of a few that the numbers of a whole batch do not show."""

import numpy as np

from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome
from synthgate.stats.distances import pairwise
from synthgate.stats.tails import tail_limit

LOST = 0.01
"""Share of honest batches that may lose a case to it."""


def single_cases(trial: Trial, placed: Measured) -> list[Finding]:
    """Cases too incomplete to be placed among patients (all but the `placed`), and cases far from all of them."""
    lacking = sorted(set(trial.batch.case) - set(placed.case))
    told = (
        f"{len(lacking)} of {len(trial.batch)} cases lack most of what is measured: {', '.join(lacking[:5])}."
        if lacking
        else "Every case has most of what is measured."
    )
    outcome: Outcome = "undefined" if lacking else "passed"
    return [
        Finding("fidelity", "measured_cases", outcome, "thins", told, float(len(lacking)), cases=tuple(lacking)),
        _far(trial),
    ]


def _far(trial: Trial) -> Finding:
    """A case is an outlier where, in any space, no patient is as near to it as every patient has another."""
    batch, weight = trial.batch, trial.weight("thins")
    spaces = samples.spaces(batch)
    beyond = np.full((len(spaces), len(batch)), np.nan)
    for row, name in enumerate(spaces):
        space = samples.Space.of(trial.reference.space(name), trial.params.components)
        real, ours = space(trial.reference.space(name)), space(batch.space(name))
        known = np.isfinite(real).all(axis=1)
        real, groups = real[known], trial.reference.group[known]
        among = np.where(np.equal.outer(groups, groups), np.inf, pairwise(real, real))
        usual = np.log(np.maximum(among.min(axis=1, initial=np.inf), 1e-9))
        limit = tail_limit(usual[np.isfinite(usual)], LOST / len(spaces) / max(len(batch), 1))
        if limit is not None:
            beyond[row] = np.log(np.maximum(pairwise(ours, real).min(axis=1), 1e-9)) - limit
    if np.isnan(beyond).all():
        told = "Too few real patients to tell how far from them a case may lie."
        return Finding("fidelity", "outlying_cases", "undefined", weight, told)
    worst = np.nanmax(np.where(np.isnan(beyond), -np.inf, beyond), axis=0)
    hits = tuple(str(name) for name in batch.case[worst > 0])
    told = (
        f"{len(hits)} of {len(batch)} cases are like no patient: {', '.join(hits[:5])}."
        if hits
        else "No case lies farther from the real patients than they lie from one another."
    )
    origin = "log distance of patients to the nearest other, tail extrapolated to one batch in a hundred; its excess"
    value = float(np.max(worst))
    return Finding(
        "fidelity", "outlying_cases", "failed" if hits else "passed", weight, told, value, None, 0.0, origin, hits
    )
