"""The gate: all axes on one batch, and the verdict."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgate.gate import agreement, contract, diversity, drift, fidelity, privacy
from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Finding, Verdict, decide
from synthgate.learning.regions import Regions
from synthgate.params import Gate


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
