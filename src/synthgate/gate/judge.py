"""The gate: all axes on one batch, and the verdict; and how individual the real patients are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgate.gate import agreement, contract, diversity, drift, fidelity, privacy, samples
from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Finding, Verdict, decide
from synthgate.learning.regions import Regions
from synthgate.params import Gate
from synthgate.stats.distances import pairwise
from synthgate.stats.neighbours import distance_ratios, nearest_ratio, nearest_two, one_nn_accuracy


@dataclass(frozen=True)
class Provenance:
    """What is known of a batch beside its cases."""

    study: str
    batch: str
    intent: str
    learned_from: tuple[str, ...] = ()
    """Patients on its card; empty for a batch from outside."""


def judge(
    batch: Measured,
    reference: Measured,
    params: Gate,
    regions: Regions,
    split_of: Mapping[str, str],
    contents: Collection[str],
    provenance: Provenance,
    faults: Sequence[str] = (),
) -> Verdict:
    """Judge a measured batch against the measured development patients.

    `split_of` and `contents` are of all patients of the study, pseudonym → split and the digests of their images;
    `faults` are what the checks of the batch's files found.
    """
    intent = provenance.intent
    findings = [
        well_formed(faults),
        *contract.judge(batch, contents, split_of, provenance.learned_from),
        *drift.judge(batch, reference, params, intent),
        *fidelity.judge(batch, reference, params, intent),
        *diversity.judge(batch, reference, params),
        *privacy.judge(batch, reference, params),
        *agreement.judge(batch, reference, params, intent, regions),
    ]
    sizes = {
        "cases": len(batch),
        "donors": len(np.unique(batch.group)),
        "reference_patients": len(np.unique(reference.group)),
    }
    return decide(provenance.study, provenance.batch, intent, findings, sizes)


def well_formed(faults: Sequence[str]) -> Finding:
    """The finding of the checks on files; a batch with faults is rejected by it alone."""
    told = (
        f"{len(faults)} faults in its files: {'; '.join(faults[:5])}." if faults else "Its files are whole and alike."
    )
    return Finding("contract", "well_formed", "failed" if faults else "passed", "rejects", told, float(len(faults)))


def individuality(reference: Measured, components: int) -> dict[str, Any]:
    """How individual patients are: unseen (validation) against training patients, per space.

    Nearest-neighbour ratio: median distance of unseen patients to their nearest training patient over that of training
    patients among themselves (about 1); class-balanced 1-NN accuracy (about 0.5); median NNDR of unseen patients.
    """
    train, unseen = (reference.rows(reference.split == split) for split in ("train", "validation"))
    out: dict[str, Any] = {}
    for name in samples.SPACES:
        # axes fitted on both alike: fitted on training patients alone they make unseen ones look nearer
        space = samples.Space.of(np.concatenate([train.space(name), unseen.space(name)]), components)
        a, b = space(train.space(name)), space(unseen.space(name))
        ratios = distance_ratios(nearest_two(pairwise(b, a), unseen.group, train.group))
        out[name] = {
            "nearest_ratio": _shown(nearest_ratio(a, b, train.group, unseen.group)),
            "one_nn_accuracy": _shown(one_nn_accuracy(a, b, train.group, unseen.group)),
            "nndr": _shown(None if ratios is None else float(np.median(ratios))),
        }
    return out


def _shown(value: float | None) -> float | str:
    return "undefined" if value is None else round(value, 4)
