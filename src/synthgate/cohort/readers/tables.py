"""Tables of patients that come with a source, in whatever columns its authors chose."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from synthgate.errors import CohortError


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, its cells stripped; raises CohortError where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return [{str(k): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(stream)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path}: not a CSV table in UTF-8 ({error}); save it again as such") from None


def matched(rows: Iterable[Mapping[str, str]], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each of `names`, the cells of all rows that hold it in any column, by column in lower case."""
    wanted = {name.lower(): name for name in names}
    result: dict[str, dict[str, str]] = {}
    for row in rows:
        for name in {wanted[cell.lower()] for cell in row.values() if cell.lower() in wanted}:
            result.setdefault(name, {}).update({k.strip().lower(): v for k, v in row.items() if v})
    return result
