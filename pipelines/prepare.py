"""Stage prepare: the patients of a study, normalised, split and sharded."""

from pipelines import stage
from synthgate import cards, params, places
from synthgate.cards import Card, inputs_of
from synthgate.cohort import checks, entries, splits, store
from synthgate.errors import CohortError
from synthgate.files import replacing, write_json
from synthgate.scratch import Scratch


def main(study: str) -> None:
    """Write build/<study> and reports/prepare/<study>."""
    row = params.load().studies[study]
    folder = places.data(study)
    table = splits.read(places.splits(study))
    inputs = inputs_of([folder, places.splits(study)])
    chosen = entries.real(folder, study, row.cohort, table)
    settings = params.as_plain(row.cohort) | params.as_plain(row.prepare)
    with Scratch.opened(f"prepare-{study}", {"params": settings, "inputs": inputs}) as scratch:
        with replacing(places.build(study)) as out:
            try:
                store.write(out, chosen, row.cohort.channels, row.prepare, scratch)
            except CohortError as error:  # one case is broken: look at all of them, so that one run tells everything
                told = checks.faults(folder, "cohort", row.cohort.labels, row.cohort.channels)
                raise CohortError("\n".join(told) or str(error)) from error
            counts = {split: len({e.patient for e in chosen if e.split == split}) for split in splits.SPLITS}
            people = tuple(sorted({entry.patient for entry in chosen}))
            terms = entries.terms(folder)
            cards.write(out, Card("prepare", study, study, people, settings, inputs, terms, {"patients": counts}))
        write_json(places.reports("prepare", study) / "metrics.json", {"patients": counts, "cases": len(chosen)})


if __name__ == "__main__":
    stage(main)
