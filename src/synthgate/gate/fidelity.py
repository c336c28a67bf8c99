"""Fidelity: does it look real? Energy distance in several spaces decides; Fréchet, kernel, 1-NN, precision inform."""

import dataclasses

import numpy as np

from synthgate.features.mild import NAME as MILD
from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.outliers import single_cases
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome, informing
from synthgate.stats.distances import energy, energy_under, frechet, kernel_distance, pairwise
from synthgate.stats.neighbours import neighbourhood, one_nn_accuracy
from synthgate.stats.nulls import step_down

WORDS: dict[Outcome, str] = {"passed": "among", "failed": "apart from", "undefined": "not comparable with"}


def judge(trial: Trial) -> list[Finding]:
    """Findings per space; a failure limits a batch that claims to be realistic and informs on another."""
    params, weight = trial.params, trial.weight("limits")
    batch, reference = samples.placed(trial.batch, trial.reference, params.components)
    results, spaces, out = [], samples.spaces(batch), single_cases(trial, batch)
    for draw, chosen in enumerate(samples.draws(batch, reference, params)):
        masks = samples.labels(len(chosen), reference, params, draw, params.error_rejecting)
        if masks is None:
            told = "Too few real or synthetic cases to compare how they look."
            return [*out, Finding("fidelity", "measurable", "undefined", weight, told)]
        columns = [_energy(batch.rows(chosen), reference, name, params.components, masks) for name in spaces]
        statistics = np.stack([values for values, _ in columns], axis=1)
        results.append(step_down(statistics, params.error_rejecting, np.array([tolerance for _, tolerance in columns])))
    found = samples.median_of(results)
    for index, (name, p) in enumerate(zip(spaces, found.p, strict=True)):
        outcome = samples.outcome(p, found.limit[index], params.error_rejecting)
        told = f"In the space {name} the batch is {WORDS[outcome]} the real patients (p {p:.3f})."
        origin = f"permutation of patients, step-down maxT over {len(spaces)} spaces, plus the effect of {MILD}"
        figures = samples.figures(found, index)
        out.append(Finding("fidelity", f"energy_{name}", outcome, weight, told, origin=origin, **figures))
    return out + _informing(dataclasses.replace(trial, batch=batch, reference=reference))


def _energy(
    batch: Measured, reference: Measured, name: str, components: int, masks: np.ndarray
) -> tuple[np.ndarray, float]:
    """Energy distances under the relabellings, and the effect of the mild change, in one space."""
    ours, real, changed = batch.space(name), reference.space(name), reference.space(f"mild_{name}")
    space = samples.Space.of(np.concatenate([ours, real]), components)
    distances = pairwise(pooled := space(np.concatenate([ours, real])), pooled)
    known = np.isfinite(changed[:, space.kept]).all(axis=1)
    tolerance = energy(space(changed[known]), space(real[known])) or 0.0  # the mild change is known of nobody: none
    return energy_under(distances, masks), tolerance


def _informing(trial: Trial) -> list[Finding]:
    train, unseen, batch, params = trial.train, trial.unseen, trial.batch, trial.params
    out = []
    for name in samples.spaces(batch):
        space = samples.Space.of(
            np.concatenate([train.space(name), unseen.space(name), batch.space(name)]), params.components
        )
        real, fresh, ours = (space(part.space(name)) for part in (train, unseen, batch))
        size = min(len(fresh), len(ours))
        rng = np.random.default_rng([params.seed, 2])
        same = rng.permutation(len(ours))[:size]
        far, near = frechet(ours[same], real), frechet(fresh[:size], real)
        ratio = far / near if far is not None and near else None
        usual = kernel_distance(fresh, real)
        around = neighbourhood(real, ours, params.neighbours)
        beside = "" if usual is None else f" (unseen patients' {usual:.3g})"
        told = {
            "frechet_ratio": (ratio, "Fréchet distance of as many cases, as a ratio to unseen patients'"),
            "kernel_distance": (kernel_distance(ours, real), f"Kernel distance to the training patients{beside}"),
            "one_nn_accuracy": (
                one_nn_accuracy(ours, real, batch.group, train.group),
                "1-NN accuracy of telling it from the training patients (0.5: not at all)",
            ),
            "precision": (around.precision if around else None, "Precision against the training patients"),
            "density": (around.density if around else None, "Density against the training patients"),
        }
        out += [informing("fidelity", f"{measure}_{name}", value, what) for measure, (value, what) in told.items()]
    return out
