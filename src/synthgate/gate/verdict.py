"""Findings, and the verdict that the policy makes of them (DESIGN §4, STATISTICS §2)."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from synthgate.errors import ArtefactError
from synthgate.files import read_json, write_json

VERSION = 3
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
    null: tuple[float, float] | None = None
    """Between these lie nine in ten of its values where nothing is wrong."""
    smallest: float | None = None
    """Smallest true departure, in the value's unit, that four in five such batches would have failed by."""

    @property
    def bad(self) -> bool:
        """Whether it counts against the batch; what should have been measurable and was not counts as failed."""
        return self.outcome in ("failed", "undefined")


def informing(axis: Axis, name: str, value: float | None, what: str) -> Finding:
    """A number that informs and is held against nobody; `undefined` where there is none."""
    outcome: Outcome = "undefined" if value is None else "passed"
    shown = "undefined" if value is None else f"{value:.3g}"
    return Finding(axis, name, outcome, "informs", f"{what}: {shown}.", value)


@checked(frozen=True, config=STRICT)
class Control:
    """A batch whose right verdict is known, and what the gate said."""

    kind: str
    severity: float
    declared: bool
    """Whether the gate is to notice it at this severity."""
    axis: Axis
    """The one that is right for it."""
    expected: Decision
    verdict: Decision
    by: tuple[Axis, ...]
    """Axes that held something against it."""
    right: bool


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
    not_judged: tuple[Axis, ...] = ()
    """Axes nothing was measured on."""
    controls: tuple[Control, ...] = ()
    """How the gate proved itself in this run."""
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


def decide(
    study: str,
    batch: str,
    intent: str,
    findings: Sequence[Finding],
    sizes: dict[str, int],
    controls: tuple[Control, ...] = (),
    doubt: str = "",
    share: float = UNTESTED,
) -> Verdict:
    """Make the verdict: a bad rejecting finding rejects, a bad limiting one limits; a few bad cases are left out.

    Without a tested use (axis utility) no batch is more than limited, to `UNTESTED`; a gain shown on real patients
    outweighs what would limit. `share` is the proportion that was tested, if any was. Where there is a `doubt` in the
    gate itself, a batch that it found no fault with is undecided.
    """
    thinning = [f for f in findings if f.bad and f.weight == "thins"]
    thinned = tuple(sorted({case for f in thinning for case in f.cases}))
    few = len(thinned) <= max(1, int(THINNED * sizes.get("cases", 0)))
    rejecting = [f for f in findings if f.bad and f.weight == "rejects"]
    rejecting += [f for f in thinning if not (few and f.cases)]
    limiting = [f for f in findings if f.bad and f.weight == "limits"]
    tested = [f for f in findings if f.axis == "utility" and f.interval is not None]
    if tested and tested[0].interval is not None and tested[0].interval[0] > 0:
        limiting = []  # shown to help in spite of them
    decision: Decision = "limited"
    reasons = [f.sentence for f in rejecting or limiting]
    if rejecting:
        decision, thinned = "rejected", ()
    elif not tested:
        reasons.append(
            f"Its use has not been tested on real patients, so at most {UNTESTED:.0%} of a training may come from it."
        )
    elif not limiting:
        decision = "approved"
    if doubt and not rejecting:
        decision, thinned = "undecided", ()
        reasons = [doubt]
    if thinned:
        reasons += [f"{f.sentence} These cases are left out." for f in thinning]
    harmless = tested and not any(f.bad for f in tested[:1])
    allowed = share if harmless else min(share, UNTESTED)
    proportion = {"rejected": 0.0, "undecided": 0.0, "limited": allowed, "approved": 1.0}[decision]
    silent = tuple(axis for axis in get_args(Axis) if axis not in {f.axis for f in findings})
    return Verdict(
        study, batch, intent, decision, proportion, tuple(reasons), tuple(findings), sizes, thinned, silent, controls
    )
