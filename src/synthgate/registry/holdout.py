"""The hold-out's ledger: each opening is written down before anybody looks, and after three it is spent."""

import csv
from pathlib import Path

from synthgate.errors import LineageError
from synthgate.files import replacing

LIMIT = 3
"""Openings after which a hold-out is spent (STATISTICS.md §1)."""


def opened(ledger: Path, candidate: str, simulated: bool) -> int:
    """Record that `candidate` (SHA-256 of its weights) opens the hold-out; returns k, the openings so far.

    One opening per distinct candidate: the same one again opens nothing new. Simulated cohorts are exempt, k is 1.
    Raises LineageError where the hold-out is spent.
    """
    if simulated:
        return 1
    rows = _read(ledger)
    if candidate in rows:
        return rows.index(candidate) + 1
    if len(rows) >= LIMIT:
        raise LineageError(
            f"{ledger}: the hold-out was opened for {len(rows)} candidates and is spent; a further model needs new "
            f"patients: adopt them, they are appended to the splits"
        )
    rows.append(candidate)
    with replacing(ledger) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["opening", "candidate"])
        writer.writerows(enumerate(rows, start=1))
    return len(rows)


def _read(ledger: Path) -> list[str]:
    if not ledger.is_file():
        return []
    with ledger.open(newline="", encoding="utf-8") as stream:
        return [row["candidate"] for row in csv.DictReader(stream)]
