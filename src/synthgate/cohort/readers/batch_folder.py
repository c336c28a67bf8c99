"""Reader of a batch: a cohort folder whose cases are nobody's, so that its table need not name patients."""

from pathlib import Path

from synthgate.cohort.case import Source
from synthgate.cohort.readers import cohort_folder


def read(source: Path) -> Source:
    """Read a batch, ours or somebody else's; each case counts as a person of its own where the table names none.

    Raises CohortError where `cases.csv` is missing or is not a table with the column case_id.
    """
    return cohort_folder.read(source, people=False)
