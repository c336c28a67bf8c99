"""Findings, and the verdict that the policy makes of them (DESIGN §4, STATISTICS §2)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from synthgate.errors import ArtefactError
from synthgate.files import read_json, write_json

VERSION = 1
"""Of the gate: a verdict of another version is expired."""
UNTESTED = 0.25
"""Largest share of a training allowed to a batch whose use has not been tested."""

Axis = Literal["contract", "drift", "fidelity", "diversity", "privacy", "agreement", "fairness", "shortcut", "utility"]
Outcome = Literal["passed", "failed", "undefined", "not_applicable", "not_provided"]
Weight = Literal["rejects", "limits", "informs"]
Decision = Literal["approved", "limited", "rejected", "undecided"]
NOT_JUDGED: tuple[Axis, ...] = ("fairness", "shortcut", "utility")
"""Axes this version of the gate does not measure."""


@dataclass(frozen=True)
class Finding:
    """One measured criterion."""

    axis: Axis
    name: str
    outcome: Outcome
    weight: Weight
    """What a failure of it does to the batch."""
    sentence: str
    """For a clinician: what was found."""
    value: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    origin: str = ""
    """Where the limit comes from."""
    cases: tuple[str, ...] = ()
    """The cases that failed it, where it is about single cases."""

    @property
    def bad(self) -> bool:
        """Whether it counts against the batch; what should have been measurable and was not counts as failed."""
        return self.outcome in ("failed", "undefined")


@dataclass(frozen=True)
class Verdict:
    """The decision on a batch."""

    study: str
    batch: str
    intent: str
    verdict: Decision
    proportion: float
    """Largest share of a training that may come from the batch: 1 approved, 0 rejected or undecided."""
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    sizes: dict[str, int]
    """Cases, distinct donors and reference patients the findings stand on."""
    not_judged: tuple[str, ...] = NOT_JUDGED
    version: int = VERSION

    def write(self, path: Path) -> None:
        """Write `verdict.json`."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Verdict":
        """Read `verdict.json`; raises ArtefactError where it is missing, broken or of another version of the gate."""
        value = read_json(path)
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise ArtefactError(f"{path} is expired: it is not of version {VERSION} of the gate; run `dvc repro`")
        try:
            findings = tuple(Finding(**{k: _tupled(v) for k, v in found.items()}) for found in value["findings"])
            tuples = {key: tuple(value[key]) for key in ("reasons", "not_judged")}
            return cls(**(value | tuples | {"findings": findings}))
        except (TypeError, KeyError) as error:
            raise ArtefactError(f"{path} is not a verdict ({error}); run `dvc repro`") from error


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def decide(study: str, batch: str, intent: str, findings: Sequence[Finding], sizes: dict[str, int]) -> Verdict:
    """Make the verdict: a bad rejecting finding rejects, a bad limiting one limits.

    Without a tested use (axis utility) no batch is more than limited, to `UNTESTED`.
    """
    rejecting = [f for f in findings if f.bad and f.weight == "rejects"]
    limiting = [f for f in findings if f.bad and f.weight == "limits"]
    decision: Decision = "limited"
    reasons = [f.sentence for f in rejecting or limiting]
    if rejecting:
        decision = "rejected"
    elif not any(f.axis == "utility" for f in findings):
        reasons.append(
            f"Its use has not been tested on real patients, so at most {UNTESTED:.0%} of a training may come from it."
        )
    elif not limiting:
        decision = "approved"
    proportion = {"rejected": 0.0, "limited": UNTESTED, "approved": 1.0}[decision]
    return Verdict(study, batch, intent, decision, proportion, tuple(reasons), tuple(findings), sizes)
