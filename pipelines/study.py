"""Stage study: every arm trained and scored on validation; real-only training cross-validated over development."""

import shutil

from pipelines import stage
from synthgate import cards, params, places, workers
from synthgate.cards import Card, inputs_of
from synthgate.cohort.store import Store
from synthgate.files import replacing, write_json
from synthgate.scratch import Scratch
from synthgate.study import arms, evidence, run


def main(study: str) -> None:
    """Write models/arms/<study> and reports/study/<study>."""
    everything = params.load()
    row = everything.studies[study]
    settings = params.as_plain(row.cohort) | params.as_plain(row.prepare) | params.as_plain(row.study)
    settings |= {"candidates": list(row.release.candidates)}
    names = [name for name, batch in everything.batches.items() if batch.study == study]
    inputs = inputs_of([places.build(study), *(places.batch(study, n) for n in names)])
    inputs |= inputs_of(places.gate(study, name) / "verdict.json" for name in names)
    with Scratch.opened(f"study-{study}", {"params": settings, "inputs": inputs}) as scratch:
        real = Store.open(places.build(study))
        batches = run.batches_at_hand(everything, study, scratch)
        trainings = arms.plan(row.study, real, batches)
        ran = workers.each(lambda training: run.run_arm(training, row, real, scratch), trainings)
        results = {training.name: result for training, result in zip(trainings, ran, strict=True)}
        scores = [score for _, found in results.values() for score in found] + run.cross_validate(study, row, real)

        people = tuple(sorted({who for t in trainings for who in (*t.patients, *t.foreign)}))
        foreign = {training.arm: len(training.foreign) for training in trainings}
        with replacing(places.candidates(study)) as out:
            for arm in row.release.candidates:
                shutil.copytree(results[f"{arm}-0"][0], out / arm)
            terms = cards.read(places.build(study)).terms
            cards.write(out, Card("study", study, study, people, settings, inputs, terms, {"foreign": foreign}))
        reports = places.reports("study", study)
        for training in trainings:
            with replacing(reports / "curves" / f"{training.name}.csv") as beside:
                shutil.copyfile(results[training.name][0] / "curve.csv", beside)
        run.write_scores(reports / "scores.csv", scores)
        names = list(dict.fromkeys(score.arm for score in scores))
        metrics = evidence.as_metrics(scores, row.study, list(row.cohort.regions), names)
        for arm, settled in row.study.arms.items():
            metrics[arm]["eligible"] = arms.eligible(settled, batches)
        write_json(reports / "metrics.json", metrics)


if __name__ == "__main__":
    stage(main)
