"""A batch from its folder to its verdict: checked, prepared, measured, judged, and its reports written."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthgate import cards, params, places, workers
from synthgate.cards import inputs_of
from synthgate.cohort import checks, entries, store
from synthgate.cohort.folder import read_table
from synthgate.cohort.store import Store
from synthgate.errors import ArtefactError
from synthgate.files import read_json, replacing, write_json
from synthgate.gate import contract, controls, drift, instruments, page, plants, suspects, utility
from synthgate.gate.instruments import Instruments
from synthgate.gate.judge import findings_of, judge, unreadable
from synthgate.gate.measured import Measured, stack
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Control, Finding, Verdict
from synthgate.params import StudyRow
from synthgate.scratch import Scratch

Wish = Mapping[str, Mapping[str, float]]
"""Attribute → group → share."""
STRICTEST = "realistic"
"""The intent of a batch that does not state one."""


def run(study: str, row: StudyRow, folder: Path, intent: str | None, out: Path, wish: Wish | None = None) -> Verdict:
    """Judge a cohort folder as the batch of its name; write `verdict.json` and the folder `report` to `out`.

    Without an intent the batch's own table is asked, then the strictest is taken. Raises CohortError for what is no
    cohort folder of the study, ArtefactError where the instruments have not been made.
    """
    name = folder.resolve().name
    intent = intent or stated_intent(folder)
    build, judges = places.build(study), places.judges(study)
    if not judges.is_dir():
        raise ArtefactError(f"{judges} is missing: the gate has no instruments; run `dvc repro calibrate@{study}`")
    card = cards.read(folder) if (folder / cards.NAME).is_file() else None
    if faults := checks.faults(folder, "batch", row.cohort.labels, row.cohort.channels):
        verdict = unreadable(faults, study, name, intent)
        with replacing(out / "report") as report:
            report.mkdir()
        verdict.write(out / "verdict.json")
        return verdict

    prepared, tools, table = _measured(study, row, name, folder)
    real = Store.open(build)
    with replacing(out / "report") as report:
        report.mkdir()
        with workers.beside(functools.partial(drift.report, table, tools.reference, report)):
            trial = Trial(
                batch=tools.likeness(table),
                reference=tools.reference,
                params=row.gate,
                regions=row.cohort.regions,
                intent=intent,
                split_of={case.patient: case.split for case in real.cases},
                contents={case.content: case.patient for case in real.cases},
                learned_from=card.patients if card else (),
                promised=card.facts.get("privacy") if card else None,
                wish=wish or {},
                rendered=tools.rendered,
                copied=stack([tools.planted[plant.name] for plant in plants.TO_MEASURE if plant.axis == "privacy"]),
            )
            findings = findings_of(trial)
            # what must not be trained on is not trained on to see whether it would help
            if row.gate.utility.draws and (so_far := judge(trial, study, name, findings)).verdict != "rejected":
                findings += _probed(row, name, inputs_of([folder, build]), real, prepared, so_far.thinned)
            proven = _controls(
                study, trial, tools.planted, {"gate": params.as_plain(row.gate), "inputs": inputs_of([judges])}
            )
            verdict = judge(trial, study, name, findings, proven, controls.doubt(proven))
            contract.report(trial, report)
            suspects.report(trial, report)
            page.write(verdict, report)
    verdict.write(out / "verdict.json")
    return verdict


def _measured(study: str, row: StudyRow, name: str, folder: Path) -> tuple[Store, Instruments, Measured]:
    """The batch prepared as the patients were, the instruments, and what they measured on it."""
    build, judges = places.build(study), places.judges(study)
    key = {"prepare": params.as_plain(row.prepare), "inputs": inputs_of([folder, build, judges])}
    with Scratch.opened(f"gate-{name}", key, rooms=("cohort", "learning", "features", "gate")) as scratch:
        write = functools.partial(
            store.write,
            entries=entries.synthetic(folder, study),
            channels=row.cohort.channels,
            params=row.prepare,
            scratch=scratch.within("shards"),
        )
        prepared = Store.open(scratch.once("store", write))
        tools = instruments.load(judges, len(row.cohort.channels), row.cohort.regions, row.calibrate)
        table = instruments.measure_all(
            prepared, prepared.cases, row.cohort.regions, tools.spaces, tools.judge, scratch, "batch"
        )
    return prepared, tools, table


def _probed(
    row: StudyRow, name: str, inputs: Mapping[str, str], real: Store, batch: Store, left_out: Sequence[str]
) -> list[Finding]:
    """What probe trainings with the batch show on real patients."""
    network = dataclasses.replace(row.calibrate.segmenter, steps=row.gate.utility.steps)
    settings = params.as_plain(row.gate.utility) | {"network": params.as_plain(network)}
    key = {"params": settings, "inputs": inputs, "without": left_out}
    with Scratch.opened(f"utility-{name}", key, rooms=("learning",)) as scratch:
        return utility.probe(real, batch, left_out, row.cohort.regions, row.gate.utility, network, scratch)


def _controls(study: str, trial: Trial, planted: Mapping[str, Measured], key: Mapping[str, Any]) -> tuple[Control, ...]:
    """How the gate proves itself on the study's patients; judged once for all batches of the same gate."""
    with Scratch.opened(f"controls-{study}", key, rooms=("gate", "stats", "features")) as scratch:

        def make(path: Path) -> None:
            write_json(path, [dataclasses.asdict(control) for control in controls.prove(trial, planted)])

        return tuple(Control(**row) for row in read_json(scratch.once("controls.json", make)))


def stated_intent(folder: Path) -> str:
    """The intent that all rows of a batch's table state; the strictest where they state none, or several."""
    stated = {row.get("intent", "") for row in read_table(folder, people=False)}
    return "training-only" if stated == {"training-only"} else STRICTEST
