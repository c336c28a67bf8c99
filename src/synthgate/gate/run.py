"""A batch from its folder to its verdict: checked, prepared, measured, judged, and its reports written."""

import functools
from pathlib import Path

from synthgate import cards, params, places
from synthgate.cards import inputs_of
from synthgate.cohort import checks, entries, store
from synthgate.cohort.folder import read_table
from synthgate.errors import ArtefactError
from synthgate.files import replacing
from synthgate.gate import contract, drift, instruments
from synthgate.gate.judge import judge, unreadable
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Verdict
from synthgate.params import StudyRow
from synthgate.scratch import Scratch

STRICTEST = "realistic"
"""The intent of a batch that does not state one."""


def run(study: str, row: StudyRow, folder: Path, intent: str | None, out: Path) -> Verdict:
    """Judge a cohort folder as the batch of its name; write `verdict.json` and the folder `report` to `out`.

    Without an intent the batch's own table is asked, then the strictest is taken. Raises CohortError for what is no
    cohort folder of the study, ArtefactError where the instruments have not been made.
    """
    name = folder.resolve().name
    intent = intent or stated_intent(folder)
    build, judges = places.build(study), places.judges(study)
    if not judges.is_dir():
        raise ArtefactError(f"{judges} is missing: the gate has no instruments; run `dvc repro calibrate@{study}`")
    learned_from = cards.read(folder).patients if (folder / cards.NAME).is_file() else ()
    if faults := checks.faults(folder, "batch", row.cohort.labels, row.cohort.channels):
        verdict = unreadable(faults, study, name, intent)
        with replacing(out / "report") as report:
            report.mkdir()
        verdict.write(out / "verdict.json")
        return verdict

    key = {"prepare": params.as_plain(row.prepare), "inputs": inputs_of([folder, build, judges])}
    with Scratch.opened(f"gate-{name}", key, rooms=("cohort", "learning", "features", "gate")) as scratch:
        write = functools.partial(
            store.write,
            entries=entries.synthetic(folder, study),
            channels=row.cohort.channels,
            params=row.prepare,
            scratch=scratch.within("shards"),
        )
        prepared = store.Store.open(scratch.once("store", write))
        tools = instruments.load(judges, len(row.cohort.channels), row.cohort.regions, row.calibrate)
        table = instruments.measure_all(
            prepared, prepared.cases, row.cohort.regions, tools.space, tools.judge, scratch, "batch"
        )
    patients = store.Store.open(build).cases
    trial = Trial(
        batch=table,
        reference=tools.reference,
        params=row.gate,
        regions=row.cohort.regions,
        intent=intent,
        split_of={case.patient: case.split for case in patients},
        contents={case.content for case in patients},
        learned_from=learned_from,
    )
    verdict = judge(trial, study, name)
    with replacing(out / "report") as report:
        drift.report(trial, report)
        contract.report(trial, report)
    verdict.write(out / "verdict.json")
    return verdict


def stated_intent(folder: Path) -> str:
    """The intent that all rows of a batch's table state; the strictest where they state none, or several."""
    stated = {row.get("intent", "") for row in read_table(folder, people=False)}
    return "training-only" if stated == {"training-only"} else STRICTEST
