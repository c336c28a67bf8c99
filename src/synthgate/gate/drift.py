"""Drift: do the batch's measurements follow the real ones? Evidently reports; a pooled maxT decides."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("DO_NOT_TRACK", "1")
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from synthgate.features.mild import NAME as MILD
from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Finding
from synthgate.params import Gate
from synthgate.stats.distances import quantile_distances_under
from synthgate.stats.nulls import step_down

METHOD = "wasserstein"
"""Evidently's normed Wasserstein distance, named explicitly: by default it would choose one by the sample's size."""
THRESHOLD = 0.1


def judge(batch: Measured, reference: Measured, params: Gate, intent: str) -> list[Finding]:
    """One finding per descriptor, jointly at the error budget of half the rejecting axes; rejects if `realistic`."""
    results = []
    for draw, chosen in enumerate(samples.draws(batch, reference, params)):
        masks = samples.labels(len(chosen), reference, params, draw)
        if masks is None:
            return [_finding("measurable", "undefined", intent, "Too few real or synthetic cases to compare them.")]
        values = np.concatenate([batch.descriptors[chosen], reference.descriptors])
        tolerance = _tolerance(reference)
        results.append(step_down(quantile_distances_under(values, masks), params.error_rejecting / 2, tolerance))
    found = samples.median_of(results)
    origin = f"permutation of patients, step-down maxT over {len(batch.names)} descriptors, plus the effect of {MILD}"
    out = []
    for name, value, p, limit in zip(batch.names, found.value, found.p, found.limit, strict=True):
        off = p <= params.error_rejecting / 2
        what = "differs from" if off else "follows"
        sentence = f"Its {str(name).replace('_', ' ')} {what} that of the real patients (adjusted p {p:.3f})."
        limit = float(limit) if np.isfinite(limit) else None
        out.append(_finding(str(name), "failed" if off else "passed", intent, sentence, float(value), limit, origin))
    return out


def _finding(
    name: str,
    outcome: str,
    intent: str,
    sentence: str,
    value: float | None = None,
    limit: float | None = None,
    origin: str = "",
) -> Finding:
    weight = "rejects" if intent == "realistic" else "informs"
    return Finding("drift", name, outcome, weight, sentence, value, None, limit, origin)  # type: ignore[arg-type]


def _tolerance(reference: Measured) -> np.ndarray:
    """Per descriptor, how far the mild change moves the real patients; [descriptor]."""
    both = np.concatenate([reference.mild_descriptors, reference.descriptors])
    changed = np.arange(len(both)) < len(reference)
    return quantile_distances_under(both, changed[None])[0]


def report(batch: Measured, reference: Measured, folder: Path) -> None:
    """Write Evidently's report on the descriptors as `evidently.html` and `evidently.json`."""
    current, past = (pd.DataFrame(m.descriptors, columns=list(m.names)) for m in (batch, reference))
    # Evidently wants values on both sides; a column undefined throughout on one is told as missing by our own findings
    names = [n for n in batch.names if current[n].notna().sum() > 1 and past[n].notna().sum() > 1]
    definition = DataDefinition(numerical_columns=names)
    run = Report([DataDriftPreset(columns=names, method=METHOD, threshold=THRESHOLD)], include_tests=True).run(
        Dataset.from_pandas(current[names], definition), Dataset.from_pandas(past[names], definition)
    )
    folder.mkdir(parents=True, exist_ok=True)
    run.save_html(str(folder / "evidently.html"))
    (folder / "evidently.json").write_text(run.json(), encoding="utf-8")
