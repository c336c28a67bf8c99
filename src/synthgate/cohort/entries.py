"""Which cases go into a prepared store: those of a cohort under pseudonyms, of a batch, or of a public source."""

from pathlib import Path

from synthgate.cohort.case import Case
from synthgate.cohort.folder import SOURCE
from synthgate.cohort.identity import PUBLIC, key_for, pseudonym
from synthgate.cohort.readers import read
from synthgate.cohort.store import Entry
from synthgate.errors import CohortError, LineageError
from synthgate.files import read_json
from synthgate.params import Cohort

HIDDEN = {"case_id", "patient_id", "donors"}


def real(folder: Path, study: str, cohort: Cohort, splits: dict[str, str]) -> list[Entry]:
    """The patients of `data/<study>` with their splits; raises CohortError for one the splits table does not have."""
    key = key_for(study, cohort.simulated)
    entries = []
    for case in _cases(folder, "cohort"):
        name = pseudonym(key, case.patient_id)
        if name not in splits:
            raise CohortError(
                f"{case.where}: its patient (pseudonym {name}) is not in splits/{study}.csv; run `synthgate adopt` on "
                f"the whole cohort, so that new patients are appended, or bring the key the table was made with"
            )
        entries.append(_entry(case, pseudonym(key, case.case_id), name, splits[name], ()))
    return entries


def synthetic(folder: Path, study: str) -> list[Entry]:
    """The cases of a batch, ours or somebody else's; donors are what its `cases.csv` says, empty where it does not.

    Raises CohortError for a batch that says it is of another study.
    """
    found = []
    for case in _cases(folder, "batch"):
        if (said := case.attributes.get("study", study)) != study:
            raise CohortError(f"{case.where}: it is of study {said}, expected {study}; judge it in its own study")
        donors = tuple(filter(None, case.attributes.get("donors", "").split(";")))
        found.append(_entry(case, case.case_id, "", "synthetic", donors))
    return found


def public(folder: Path) -> list[Entry]:
    """The cases of a public source, whose people keep their names; raises LineageError for one that has donors."""
    cases = _cases(folder, "cohort")
    for case in cases:
        if case.attributes.get("donors"):
            raise LineageError(f"{case.where}: it was made from patients, so it is not public; give another source")
    return [_entry(case, case.case_id, PUBLIC + case.patient_id, "public", ()) for case in cases]


def _cases(folder: Path, layout: str) -> list[Case]:
    source = read(folder, layout)
    faults = [str(problem) for problem in source.problems if problem.grade == "fault"]
    if not source.cases and not faults:
        faults = [f"{folder}: expected at least one case in cases.csv, got none; adopt or make some"]
    if faults:
        raise CohortError("\n".join(faults))
    return source.cases


def terms(folder: Path) -> tuple[str, ...]:
    """Licence and consent terms that came with a cohort folder; empty where it states none."""
    source = folder / SOURCE
    return tuple(read_json(source).get("terms", ())) if source.is_file() else ()


def _entry(case: Case, name: str, patient: str, split: str, donors: tuple[str, ...]) -> Entry:
    shown = {key: value for key, value in case.attributes.items() if key not in HIDDEN}
    return Entry(name, patient, split, donors, shown, case.where, case.load)
