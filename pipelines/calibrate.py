"""Stage calibrate: the judge's instruments, cross-fitted over development patients."""

import shutil

import numpy as np

from pipelines import stage
from synthgate import cards, params, places
from synthgate.cards import Card, inputs_of
from synthgate.cohort.store import Store
from synthgate.files import replacing, write_json
from synthgate.gate import instruments
from synthgate.gate.individuality import individuality
from synthgate.scratch import Scratch


def main(study: str) -> None:
    """Write judges/<study> and reports/calibrate/<study>."""
    row = params.load().studies[study]
    build, reports = places.build(study), places.reports("calibrate", study)
    store = Store.open(build)
    settings = params.as_plain(row.calibrate) | {"regions": dict(row.cohort.regions)}
    rooms = ("learning", "features", "gate")
    key = {"params": settings, "build": cards.read(build).content}
    with Scratch.opened(f"calibrate-{study}", key, rooms=rooms) as scratch:
        with replacing(places.judges(study)) as out:
            table = instruments.make(store, row.cohort.regions, row.calibrate, scratch, out)
            people = tuple(sorted(set(table.people.tolist())))
            terms = cards.read(build).terms
            cards.write(out, Card("calibrate", study, study, people, settings, inputs_of([build]), terms))
        for fold in range(row.calibrate.folds):
            with replacing(reports / "curves" / f"fold-{fold}.csv") as beside:
                shutil.copyfile(places.judges(study) / f"fold-{fold}" / "curve.csv", beside)
    dice = {name: round(float(np.nanmean(table.dice[:, i])), 4) for i, name in enumerate(row.cohort.regions)}
    alike = individuality(table, row.gate.components)
    write_json(reports / "metrics.json", {"judge_dice": dice, "individuality": alike, "patients": len(people)})


if __name__ == "__main__":
    stage(main)
