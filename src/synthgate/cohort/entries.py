"""Which cases go into a prepared store: the real ones of a cohort under their pseudonyms, or those of a batch."""

from pathlib import Path

from synthgate.cohort.case import Case
from synthgate.cohort.folder import SOURCE
from synthgate.cohort.identity import key_for, pseudonym
from synthgate.cohort.readers import read
from synthgate.cohort.store import Entry
from synthgate.errors import CohortError
from synthgate.files import read_json
from synthgate.params import Cohort

HIDDEN = {"case_id", "patient_id", "donors"}


def real(folder: Path, study: str, cohort: Cohort, splits: dict[str, str]) -> list[Entry]:
    """The patients of `data/<study>` with their splits; raises CohortError for one the splits table does not have."""
    key = key_for(study, cohort.simulated)
    entries = []
    for case in read(folder, "cohort").cases:
        name = pseudonym(key, case.patient_id)
        if name not in splits:
            raise CohortError(
                f"{case.where}: its patient (pseudonym {name}) is not in splits/{study}.csv; run `synthgate adopt` on "
                f"the whole cohort, so that new patients are appended, or bring the key the table was made with"
            )
        entries.append(_entry(case, pseudonym(key, case.case_id), name, splits[name], ()))
    return entries


def synthetic(folder: Path) -> list[Entry]:
    """The cases of a batch, ours or somebody else's; donors are what its `cases.csv` says, empty where it does not."""
    entries = []
    for case in read(folder, "cohort").cases:
        donors = tuple(filter(None, case.attributes.get("donors", "").split(";")))
        entries.append(_entry(case, case.case_id, "", "synthetic", donors))
    return entries


def terms(folder: Path) -> tuple[str, ...]:
    """Licence and consent terms that came with a cohort folder; empty where it states none."""
    source = folder / SOURCE
    return tuple(read_json(source).get("terms", ())) if source.is_file() else ()


def _entry(case: Case, name: str, patient: str, split: str, donors: tuple[str, ...]) -> Entry:
    shown = {key: value for key, value in case.attributes.items() if key not in HIDDEN}
    return Entry(name, patient, split, donors, shown, case.where, case.load)
