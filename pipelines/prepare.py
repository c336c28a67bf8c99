"""Stage prepare: the patients of a study, normalised, split and sharded."""

from pipelines import stage
from synthgate import cards, params, places
from synthgate.cards import Card, inputs_of
from synthgate.cohort import entries, splits, store
from synthgate.files import replacing, write_json
from synthgate.scratch import Scratch


def main(study: str) -> None:
    """Write build/<study> and reports/prepare/<study>."""
    row = params.load().studies[study]
    table = splits.read(places.splits(study))
    inputs = inputs_of([places.data(study), places.splits(study)])
    chosen = entries.real(places.data(study), study, row.cohort, table)
    settings = params.as_plain(row.cohort) | params.as_plain(row.prepare)
    with Scratch.opened(f"prepare-{study}", {"params": settings, "inputs": inputs}) as scratch:
        with replacing(places.build(study)) as out:
            store.write(out, chosen, row.cohort.channels, row.prepare, scratch)
            counts = {split: len({e.patient for e in chosen if e.split == split}) for split in splits.SPLITS}
            people = tuple(sorted({entry.patient for entry in chosen}))
            terms = entries.terms(places.data(study))
            cards.write(out, Card("prepare", study, study, people, settings, inputs, terms, {"patients": counts}))
        write_json(places.reports("prepare", study) / "metrics.json", {"patients": counts, "cases": len(chosen)})


if __name__ == "__main__":
    stage(main)
