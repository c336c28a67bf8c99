"""Stage gate: the verdict on a batch. The stage succeeds whatever it is; only the command line makes exit codes."""

import functools

from pipelines import stage
from synthgate import cards, params, places
from synthgate.cards import inputs_of
from synthgate.cohort import checks, entries, store
from synthgate.files import replacing
from synthgate.gate import drift, instruments
from synthgate.gate.judge import Provenance, judge, well_formed
from synthgate.gate.verdict import decide
from synthgate.scratch import Scratch


def main(name: str) -> None:
    """Write reports/gate/<study>/<batch>: verdict.json and the folder report."""
    everything = params.load()
    batch = everything.batches[name]
    row = everything.studies[batch.study]
    folder, reports = places.batch(batch.study, name), places.gate(batch.study, name)
    build, judges = places.build(batch.study), places.judges(batch.study)

    card = cards.read(folder)
    provenance = Provenance(batch.study, name, batch.intent, card.patients)
    if faults := checks.faults(folder, row.cohort.labels):
        (reports / "report").mkdir(parents=True, exist_ok=True)
        verdict = decide(batch.study, name, batch.intent, [well_formed(faults)], {})
        verdict.write(reports / "verdict.json")
        return

    inputs = inputs_of([folder, build, judges])
    key = {"prepare": params.as_plain(row.prepare), "inputs": inputs}
    with Scratch.opened(f"gate-{name}", key, rooms=("cohort", "learning", "features", "gate")) as scratch:
        write = functools.partial(
            store.write,
            entries=entries.synthetic(folder, batch.study),
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
    split_of, contents = {case.patient: case.split for case in patients}, {case.content for case in patients}
    verdict = judge(table, tools.reference, row.gate, row.cohort.regions, split_of, contents, provenance)
    with replacing(reports / "report") as out:
        drift.report(table, tools.reference, out)
    verdict.write(reports / "verdict.json")


if __name__ == "__main__":
    stage(main)
