"""Diversity: does the batch cover the real variety?"""

import numpy as np

from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Finding, Outcome
from synthgate.params import Gate
from synthgate.stats.distances import pairwise
from synthgate.stats.neighbours import neighbourhood
from synthgate.stats.nulls import step_down
from synthgate.stats.variety import gaussian_kernel, vendi, vendi_under

FEWEST = 5
"""Effective distinct cases below which a batch is a collapse."""
MEASURES = tuple(f"{measure}_{space}" for space in samples.SPACES for measure in ("vendi", "mean_distance"))


def judge(batch: Measured, reference: Measured, params: Gate) -> list[Finding]:
    """Variety against equally large draws of the pooled cases; effective number of cases; distinct donors."""
    results = []
    for draw, chosen in enumerate(samples.draws(batch, reference, params)):
        masks = samples.labels(len(chosen), reference, params, draw)
        if masks is None or len(chosen) < 2:
            told = "Too few real or synthetic cases to compare their variety."
            return [Finding("diversity", "measurable", "undefined", "limits", told)]
        statistics = np.concatenate(
            [_narrowness(batch.rows(chosen), reference, name, params.components, masks) for name in samples.SPACES],
            axis=1,
        )
        results.append(step_down(statistics, params.error_rejecting))
    found = samples.median_of(results)
    out = []
    for name, value, p, limit in zip(MEASURES, found.value, found.p, found.limit, strict=True):
        off = bool(p <= params.error_rejecting)
        spoken = name.replace("_", " ")
        told = f"Its variety ({spoken}) is {'less than' if off else 'like'} the real patients' (p {p:.3f})."
        origin = "permutation of patients, step-down maxT over measures and spaces"
        bound = -float(limit) if np.isfinite(limit) else None
        out.append(
            Finding(
                "diversity", name, "failed" if off else "passed", "limits", told, -float(value), None, bound, origin
            )
        )
    return [*out, _effective(batch, params), *_coverage(batch, reference, params)]


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


def _effective(batch: Measured, params: Gate) -> Finding:
    points = samples.Space.of(batch.convolution, params.components)(batch.convolution) if len(batch) > 1 else None
    kernel = gaussian_kernel(pairwise(points, points)) if points is not None and points.size else None
    value = vendi(kernel) if kernel is not None else 1.0
    donors = len(np.unique(batch.group))
    told = f"It amounts to {value:.1f} distinct cases, from {donors} distinct donors; at least {FEWEST} are needed."
    outcome: Outcome = "failed" if value is None or value < min(FEWEST, len(batch)) else "passed"
    return Finding(
        "diversity", "effective_cases", outcome, "rejects", told, value, None, float(FEWEST), "a fixed floor"
    )


def _coverage(batch: Measured, reference: Measured, params: Gate) -> list[Finding]:
    out = []
    for name in samples.SPACES:
        rows = np.concatenate([reference.space(name), batch.space(name)])
        space = samples.Space.of(rows, params.components)
        around = neighbourhood(space(reference.space(name)), space(batch.space(name)), params.neighbours)
        for measure in ("recall", "coverage"):
            value = getattr(around, measure) if around else None
            shown = "undefined" if value is None else f"{value:.3g}"
            outcome: Outcome = "undefined" if value is None else "passed"
            told = f"{measure} of the real patients: {shown}."
            out.append(Finding("diversity", f"{measure}_{name}", outcome, "informs", told, value))
    return out
