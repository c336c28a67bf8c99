"""The gate: all axes on one batch, and the verdict."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from synthgate.gate import agreement, contract, diversity, drift, fairness, fidelity, privacy, shortcut
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Control, Finding, Verdict, decide

AXES = (contract, drift, fidelity, diversity, privacy, agreement, fairness, shortcut)


def findings_of(trial: Trial, axes: Sequence[ModuleType] = AXES) -> list[Finding]:
    """What the axes find, all of them by default."""
    return [well_formed(()), *(finding for axis in axes for finding in axis.judge(trial))]


def judge(
    trial: Trial,
    study: str,
    batch: str,
    findings: Sequence[Finding] | None = None,
    controls: Sequence[Control] = (),
    doubt: str = "",
) -> Verdict:
    """The verdict by what all axes found (by default it is looked for here) and by how the gate proved itself."""
    sizes = {
        "cases": len(trial.batch),
        "donors": len(np.unique(trial.batch.group)),
        "reference_patients": len(np.unique(trial.reference.group)),
    }
    findings = findings_of(trial) if findings is None else findings
    return decide(study, batch, trial.intent, findings, sizes, tuple(controls), doubt, trial.params.utility.share)


def unreadable(faults: Sequence[str], study: str, batch: str, intent: str) -> Verdict:
    """The verdict on a batch whose files have faults: rejected, and nothing else is measured."""
    return decide(study, batch, intent, [well_formed(faults)], {})


def well_formed(faults: Sequence[str]) -> Finding:
    """The finding of the checks on files."""
    told = (
        f"{len(faults)} faults in its files: {'; '.join(faults[:5])}." if faults else "Its files are whole and alike."
    )
    return Finding("contract", "well_formed", "failed" if faults else "passed", "rejects", told, float(len(faults)))
