"""Controls: batches whose right verdict is known, judged in every run, so that the gate shows how often it is wrong.

Unseen patients (validation) pose as a batch and are judged against the training patients: as they are they must pass,
and with each planted defect the axis that is right for it must notice.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from synthgate import workers
from synthgate.gate import plants
from synthgate.gate.judge import AXES, findings_of
from synthgate.gate.measured import Measured
from synthgate.gate.plants import Plant
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Control, Verdict, decide
from synthgate.progress import tracked

GOOD = Plant("unseen_patients", "contract", 0, expects="limited")
"""What must not be refused; its axis is none in particular."""


def prove(trial: Trial, planted: Mapping[str, Measured]) -> tuple[Control, ...]:
    """Judge every control as the batch of `trial` is judged, but as realistic and in one draw.

    `planted` are the measured defects of pixels, by name. What the patients at hand do not allow is left out.
    """
    train, unseen = trial.train, posing(trial.unseen)
    if not len(unseen):
        return ()
    batches: list[tuple[Plant, Measured | None]] = [(GOOD, unseen)]
    for plant in plants.TO_MEASURE:
        found = planted.get(plant.name)
        if found is not None:
            batches.append((plant, plants.some_are(found, unseen) if plant.of == "train" else posing(found)))
    batches += [(plant, plan(train, unseen)) for plant, plan in plants.ROW_PLANTS]
    known = [(plant, batch) for plant, batch in batches if batch is not None]

    def one(planted: tuple[Plant, Measured]) -> Control:
        plant, batch = planted
        return held_against(plant, verdict_on(trial, plant.name, batch, train))

    return tuple(tracked(workers.each(one, known), len(known), "controls", "batches"))


def posing(patients: Measured) -> Measured:
    """Patients as a batch from outside: nobody is named behind them, and they are files of their own."""
    return dataclasses.replace(
        patients,
        split=np.full(len(patients), "synthetic"),
        people=np.full(len(patients), ""),
        group=patients.case,
        content=np.array([f"control-{content}" for content in patients.content]),
    )


def verdict_on(
    trial: Trial, name: str, batch: Measured, reference: Measured, axes: Sequence[ModuleType] = AXES
) -> Verdict:
    """The verdict on a batch of one's own making before the trial's gate: as realistic, in one draw."""
    as_control = dataclasses.replace(
        trial, batch=batch, reference=reference, params=dataclasses.replace(trial.params, draws=1), intent="realistic",
        learned_from=(), promised=None, wish={}, rendered=None, copied=None,
    )  # fmt: skip
    return decide("", name, "realistic", findings_of(as_control, axes), {"cases": len(batch)})


def held_against(plant: Plant, verdict: Verdict) -> Control:
    """Whether the verdict on what was planted is right, and was found by the axis that is right for it."""
    by = tuple(sorted({f.axis for f in verdict.findings if f.bad and f.weight != "informs"}))
    right = verdict.verdict == plant.expects and (plant == GOOD or plant.axis in by)
    return Control(plant.kind, plant.severity, plant.declared, plant.axis, plant.expects, verdict.verdict, by, right)


def doubt(controls: tuple[Control, ...]) -> str:
    """Why the gate cannot be trusted on the patients at hand; empty where it can.

    It may miss one in six of the kinds it declares to notice, and none of those that are sure.
    """
    if not controls:
        return "The gate could not prove itself: there are no unseen patients to plant defects in."
    missed = sorted({c.kind for c in controls if c.declared and not c.right})
    kinds = {c.kind for c in controls if c.declared}
    if len(missed) > len(kinds) // 6 or set(missed) & set(plants.SURE):
        names = ", ".join(name.replace("_", " ") for name in missed)
        return (
            f"The gate could not prove itself on the patients at hand: of {len(kinds)} controls it misjudged {names}."
        )
    return ""
