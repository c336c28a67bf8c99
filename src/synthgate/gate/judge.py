"""The gate: all axes on one batch, and the verdict."""

from collections.abc import Sequence

import numpy as np

from synthgate.gate import agreement, contract, diversity, drift, fidelity, privacy
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Verdict, decide

AXES = (contract, drift, fidelity, diversity, privacy, agreement)


def judge(trial: Trial, study: str, batch: str) -> Verdict:
    """Judge a measured batch against the measured development patients."""
    findings = [well_formed(()), *(finding for axis in AXES for finding in axis.judge(trial))]
    sizes = {
        "cases": len(trial.batch),
        "donors": len(np.unique(trial.batch.group)),
        "reference_patients": len(np.unique(trial.reference.group)),
    }
    return decide(study, batch, trial.intent, findings, sizes)


def unreadable(faults: Sequence[str], study: str, batch: str, intent: str) -> Verdict:
    """The verdict on a batch whose files have faults: rejected, and nothing else is measured."""
    return decide(study, batch, intent, [well_formed(faults)], {})


def well_formed(faults: Sequence[str]) -> Finding:
    """The finding of the checks on files."""
    told = (
        f"{len(faults)} faults in its files: {'; '.join(faults[:5])}." if faults else "Its files are whole and alike."
    )
    return Finding("contract", "well_formed", "failed" if faults else "passed", "rejects", told, float(len(faults)))
