"""A public source: the people whose anatomies, styles and attributes a private generator has (docs/private.md)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synthgate import cards
from synthgate.cohort import checks, entries, store
from synthgate.cohort.store import Store
from synthgate.errors import CohortError, LineageError
from synthgate.files import digest
from synthgate.params import Prepare, Public
from synthgate.scratch import Scratch


def prepared(
    public: Public, prepare: Prepare, patients: Store, regions: Mapping[str, tuple[int, ...]], scratch: Scratch
) -> Store:
    """The source's cases, prepared as the patients were, in `scratch`.

    Raises CohortError where its folder is missing, has another digest than the row says, or faults, and LineageError
    where it was made from patients or has the identical image of one of the study's.
    """
    folder = Path(public.folder)
    row = "the generator's row of params.yaml (privacy.public)"
    if not folder.is_dir():
        raise CohortError(f"{folder}: the public source is missing; bring it there, or name another folder in {row}")
    if (found := digest(folder)) != public.digest:
        raise CohortError(
            f"{folder}: expected the digest {public.digest}, found {found}; bring the content that was meant, or, if "
            f"this is it, write its digest into {row}"
        )
    if (folder / cards.NAME).exists():
        raise LineageError(f"{folder}: it has a card, so it was made from patients; name another folder in {row}")

    values = {value for some in regions.values() for value in some}

    def write(out: Path) -> None:
        if faults := checks.faults(folder, "cohort", sorted(values), patients.channels):
            raise CohortError("\n".join(faults))
        store.write(out, entries.public(folder), patients.channels, prepare, scratch.within("shards"))

    made = Store.open(scratch.once("store", write))
    if lacking := values - set(np.unique(np.concatenate([np.unique(made.label(case)) for case in made.cases]))):
        raise CohortError(
            f"{folder}: expected the label values {sorted(values)}, but no case has {sorted(lacking)}, so no batch "
            f"could; name another folder in {row}"
        )
    theirs = {case.content: case.patient for case in patients.cases}
    for case in made.cases:
        if case.content in theirs:
            raise LineageError(
                f"{folder}: case {case.case} is the image of the study's patient {theirs[case.content]}, so the source "
                f"is not public; take it out, or name another folder in {row}"
            )
    return made


def terms(public: Public) -> tuple[str, ...]:
    """Its licence and consent terms."""
    return entries.terms(Path(public.folder))
