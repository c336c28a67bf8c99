"""Drift: do the batch's measurements follow the real ones? Evidently reports; a pooled maxT decides."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from synthgate.features.mild import NAME as MILD
from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome
from synthgate.stats.distances import quantile_distances_under, spreads
from synthgate.stats.nulls import step_down

METHOD = "wasserstein"
"""Evidently's normed Wasserstein distance, named explicitly: by default it would choose one by the sample's size."""
THRESHOLD = 0.1
IDS = re.compile(r"(?<=metric_)[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
WORDS: dict[Outcome, str] = {
    "passed": "follows",
    "failed": "differs from",
    "undefined": "cannot be compared with",
    "not_applicable": "is one and the same as",
}


def judge(trial: Trial) -> list[Finding]:
    """One finding per descriptor, jointly at the error budget of half the rejecting axes; rejects if `realistic`.

    Whether a descriptor can be computed is a descriptor too: a batch without any lesion does not follow the patients.
    """
    batch, reference, params, weight = trial.batch, trial.reference, trial.params, trial.weight("rejects")
    error = params.error_rejecting / 2
    ours, real, changed, names = _with_known(batch, reference)
    results = []
    for draw, chosen in enumerate(samples.draws(batch, reference, params)):
        masks = samples.labels(len(chosen), reference, params, draw, error)
        if masks is None:
            told = "Too few real or synthetic cases to compare them."
            return [Finding("drift", "measurable", "undefined", weight, told)]
        values = np.concatenate([ours[chosen], real])
        unit = spreads(values)
        moved = np.arange(2 * len(real)) < len(real)
        tolerance = quantile_distances_under(np.concatenate([changed, real]), moved[None], unit)[0]
        results.append(step_down(quantile_distances_under(values, masks, unit), error, tolerance))
    found = samples.median_of(results)
    origin = f"permutation of patients, step-down maxT over {len(names)} descriptors, plus the effect of {MILD}"
    out = []
    for column, (name, p) in enumerate(zip(names, found.p, strict=True)):
        tested = samples.outcome(p, found.limit[column], error)
        outcome = _outcome(ours[:, column], real[:, column], tested)
        what = WORDS[outcome]
        sentence = f"Its {name.replace('_', ' ')} {what} that of the real patients (adjusted p {p:.3f})."
        out.append(Finding("drift", name, outcome, weight, sentence, origin=origin, **samples.figures(found, column)))
    return out


def _with_known(batch: Measured, reference: Measured) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Descriptors of batch, patients, and patients after the mild change, with their names.

    One column is added for each set of descriptors that are undefined in the same cases: whether they are known there.
    """
    parts = [batch.descriptors, reference.descriptors, reference.mild_descriptors]
    parts = [np.where(np.isfinite(part), part, np.nan) for part in parts]
    missing = np.isnan(np.concatenate(parts[:2]))
    _, first = np.unique(missing, axis=1, return_index=True)
    added = [column for column in sorted(first) if missing[:, column].any()]
    names = [*map(str, batch.names), *(f"{batch.names[column]}_known" for column in added)]
    ours, real, changed = (np.hstack([part, ~np.isnan(part[:, added])]) for part in parts)
    return ours, real, changed, names


def _outcome(ours: np.ndarray, real: np.ndarray, tested: Outcome) -> Outcome:
    """The tested outcome of one descriptor, where there is something to compare on both sides."""
    values = np.unique(ours)
    if len(values) == 1 and np.array_equal(values, np.unique(real), equal_nan=True):
        return "not_applicable"  # one value throughout, or undefined throughout
    return "undefined" if np.isnan(ours).all() or np.isnan(real).all() else tested


def report(batch: Measured, reference: Measured, folder: Path) -> None:
    """Write Evidently's report on the descriptors as `evidently.html` and `evidently.json`; none of a single case."""
    from evidently import DataDefinition, Dataset, Report  # takes seconds
    from evidently.presets import DataDriftPreset

    current, past = (pd.DataFrame(m.descriptors, columns=list(m.names)) for m in (batch, reference))
    # Evidently wants values on both sides; a column undefined throughout on one is told as missing by our own findings
    names = [n for n in batch.names if current[n].notna().sum() > 1 and past[n].notna().sum() > 1]
    folder.mkdir(parents=True, exist_ok=True)
    if not names:
        return
    definition = DataDefinition(numerical_columns=names)
    run = Report([DataDriftPreset(columns=names, method=METHOD, threshold=THRESHOLD)], include_tests=True).run(
        Dataset.from_pandas(current[names], definition), Dataset.from_pandas(past[names], definition)
    )
    run.save_html(str(page := folder / "evidently.html"))
    page.write_text(_numbered(page.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "evidently.json").write_text(run.json(), encoding="utf-8")


def _numbered(page: str) -> str:
    """Evidently's page with its random ids numbered as they come, so that the same findings give the same bytes."""
    seen: dict[str, str] = {}
    return IDS.sub(lambda found: seen.setdefault(found[0], f"{len(seen):032x}"), page)
