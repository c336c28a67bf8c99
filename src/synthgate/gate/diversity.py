"""Diversity: does the batch cover the real variety?"""

import numpy as np

from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome, Weight, informing
from synthgate.params import Gate
from synthgate.stats.distances import pairwise
from synthgate.stats.neighbours import neighbourhood
from synthgate.stats.nulls import step_down
from synthgate.stats.variety import gaussian_kernel, median_distance, vendi, vendi_under

REJECTS: Weight = "rejects"
FEWEST = 5
"""Effective distinct cases, and distinct donors, below which a batch is a collapse."""
DISTINCT = 0.25
"""Width at which cases count as distinct, in median distances of real patients: two of them are 0.03 % alike."""
WORDS: dict[Outcome, str] = {"passed": "like", "failed": "less than", "undefined": "not comparable with"}


def judge(trial: Trial) -> list[Finding]:
    """Variety against equally large draws of the pooled cases; effective number of cases; distinct donors."""
    params = trial.params
    effective = _effective(trial.batch, trial.reference, params)
    batch, reference = samples.placed(trial.batch, trial.reference, params.components)
    spaces = samples.spaces(batch)
    measures = [f"{measure}_{space}" for space in spaces for measure in ("vendi", "mean_distance")]
    results = []
    for draw, chosen in enumerate(samples.draws(batch, reference, params)):
        masks = samples.labels(len(chosen), reference, params, draw, params.error_rejecting)
        if masks is None:
            told = "Too few real or synthetic cases to compare their variety."
            return [Finding("diversity", "measurable", "undefined", "limits", told), effective]
        statistics = np.concatenate(
            [_narrowness(batch.rows(chosen), reference, name, params.components, masks) for name in spaces],
            axis=1,
        )
        results.append(step_down(statistics, params.error_rejecting))
    found = samples.median_of(results)
    out = []
    for index, (name, p) in enumerate(zip(measures, found.p, strict=True)):
        outcome = samples.outcome(p, found.limit[index], params.error_rejecting)
        told = f"Its variety ({name.replace('_', ' ')}) is {WORDS[outcome]} the real patients' (p {p:.3f})."
        origin = "permutation of patients, step-down maxT over measures and spaces"
        figures = samples.figures(found, index, sign=-1)
        out.append(Finding("diversity", name, outcome, "limits", told, origin=origin, **figures))
    return [*out, effective, *_coverage(batch, reference, params)]


def _narrowness(batch: Measured, reference: Measured, name: str, components: int, masks: np.ndarray) -> np.ndarray:
    """[relabelling, (−Vendi, −mean distance)]: large where the chosen rows are alike."""
    rows = np.concatenate([batch.space(name), reference.space(name)])
    points = samples.Space.of(rows, components)(rows)
    distances = pairwise(points, points)
    picked = np.argsort(~masks, axis=1, kind="stable")[:, : len(batch)]
    kernel = gaussian_kernel(distances)
    if kernel is None:
        return np.zeros((len(masks), 2))
    apart = np.array([distances[np.ix_(row, row)].mean() for row in picked])
    return -np.stack([vendi_under(kernel, picked), apart], axis=1)


def _effective(batch: Measured, reference: Measured, params: Gate) -> Finding:
    """How many distinct cases it amounts to, in the space and by the distances of the real patients.

    By the batch's own distances a batch that varies a single case a little would look as varied as any other.
    """
    name, weight = "effective_cases", REJECTS
    space = samples.Space.of(reference.convolution, params.components)
    real, ours = space(reference.convolution), space(batch.convolution)
    width = DISTINCT * median_distance(pairwise(real, real))
    kernel = gaussian_kernel(pairwise(ours, ours), width) if np.isfinite(ours).all() else None
    value = None if kernel is None else vendi(kernel)
    if value is None:
        told = "Real patients do not differ, or the batch cannot be placed among them: its variety cannot be told."
        return Finding("diversity", name, "undefined", weight, told)
    donors = len(np.unique(batch.group))
    told = f"It amounts to {value:.1f} distinct cases, from {donors} distinct donors; at least {FEWEST} are needed."
    outcome: Outcome = "failed" if round(min(value, donors), 1) < FEWEST else "passed"
    return Finding("diversity", name, outcome, weight, told, value, None, float(FEWEST), "a fixed floor")


def _coverage(batch: Measured, reference: Measured, params: Gate) -> list[Finding]:
    out = []
    for name in samples.spaces(batch):
        rows = np.concatenate([reference.space(name), batch.space(name)])
        space = samples.Space.of(rows, params.components)
        around = neighbourhood(space(reference.space(name)), space(batch.space(name)), params.neighbours)
        for measure in ("recall", "coverage"):
            value = getattr(around, measure) if around else None
            out.append(
                informing("diversity", f"{measure}_{name}", value, f"{measure.capitalize()} of the real patients")
            )
    return out
