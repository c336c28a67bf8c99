"""Findings, and the verdict that the policy makes of them (DESIGN §4, STATISTICS §2)."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from synthgate.errors import ArtefactError
from synthgate.files import read_json, write_json

VERSION = 2
"""Of the gate: a verdict of another version is expired."""
UNTESTED = 0.25
"""Largest share of a training allowed to a batch whose use has not been tested."""

THINNED = 0.05
"""Largest share of a batch, and at least one case, that is left out rather than refusing the whole."""

Axis = Literal["contract", "drift", "fidelity", "diversity", "privacy", "agreement", "fairness", "shortcut", "utility"]
Outcome = Literal["passed", "failed", "undefined", "not_applicable", "not_provided"]
Weight = Literal["rejects", "thins", "limits", "informs"]
"""What a failure does. `thins`: its cases are left out where they are few, else it rejects."""
Decision = Literal["approved", "limited", "rejected", "undecided"]
NOT_JUDGED: tuple[Axis, ...] = ("fairness", "shortcut", "utility")
"""Axes this version of the gate does not measure."""


STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@checked(frozen=True, config=STRICT)
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


@checked(frozen=True, config=STRICT)
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
    thinned: tuple[str, ...] = ()
    """Cases that may not be trained on; the verdict is on the others."""
    not_judged: tuple[str, ...] = NOT_JUDGED
    version: int = VERSION

    def told(self) -> str:
        """The verdict, its reasons, and what the batch did not provide, line by line."""
        limited = f" to {self.proportion:g} of a training" if self.verdict == "limited" else ""
        silent = [f"not provided: {f.sentence}" for f in self.findings if f.outcome == "not_provided"]
        return "\n".join(
            [f"{self.batch}: {self.verdict}{limited}", *(f"  - {line}" for line in [*self.reasons, *silent])]
        )

    def write(self, path: Path) -> None:
        """Write `verdict.json`."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Verdict":
        """Read `verdict.json`; raises ArtefactError where it is missing, broken or of another version of the gate."""
        value = read_json(path)
        if expired(value):
            raise ArtefactError(f"{path} is expired: it is not of version {VERSION} of the gate; run `dvc repro`")
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ArtefactError(f"{path} is not a verdict ({where}: {first['msg']}); run `dvc repro`") from error


def expired(value: Any) -> bool:
    """Whether what a `verdict.json` holds is of another version of the gate."""
    return not isinstance(value, dict) or value.get("version") != VERSION


def schema() -> dict[str, Any]:
    """The JSON schema of `verdict.json`."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"verdict of the gate, version {VERSION}",
    }
    return TypeAdapter(Verdict).json_schema(mode="serialization") | head


def decide(study: str, batch: str, intent: str, findings: Sequence[Finding], sizes: dict[str, int]) -> Verdict:
    """Make the verdict: a bad rejecting finding rejects, a bad limiting one limits; a few bad cases are left out.

    Without a tested use (axis utility) no batch is more than limited, to `UNTESTED`.
    """
    thinning = [f for f in findings if f.bad and f.weight == "thins"]
    thinned = tuple(sorted({case for f in thinning for case in f.cases}))
    few = len(thinned) <= max(1, int(THINNED * sizes.get("cases", 0)))
    rejecting = [f for f in findings if f.bad and f.weight == "rejects"]
    rejecting += [f for f in thinning if not (few and f.cases)]
    limiting = [f for f in findings if f.bad and f.weight == "limits"]
    decision: Decision = "limited"
    reasons = [f.sentence for f in rejecting or limiting]
    if rejecting:
        decision, thinned = "rejected", ()
    elif not any(f.axis == "utility" for f in findings):
        reasons.append(
            f"Its use has not been tested on real patients, so at most {UNTESTED:.0%} of a training may come from it."
        )
    elif not limiting:
        decision = "approved"
    if thinned:
        reasons += [f"{f.sentence} These cases are left out." for f in thinning]
    proportion = {"rejected": 0.0, "limited": UNTESTED, "approved": 1.0}[decision]
    return Verdict(study, batch, intent, decision, proportion, tuple(reasons), tuple(findings), sizes, thinned)
