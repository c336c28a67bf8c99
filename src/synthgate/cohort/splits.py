"""Splits by patient: an append-only table under pseudonyms, kept in git.

Who goes where depends on the order of adoption, the strata and the seed, and not on the pseudonyms: so two sites with
different keys split the same patients alike. Adding or withdrawing a patient moves nobody else.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthgate.errors import CohortError
from synthgate.files import write_text
from synthgate.params import Cohort

SPLITS = ("train", "validation", "hold-out")
HEADER = ["patient", "split"]


def read(path: Path) -> dict[str, str]:
    """Pseudonym → split in the order of adoption; raises CohortError where the table is missing or broken."""
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise CohortError(
            f"{path}: the splits table is missing; restore it from git, or `synthgate adopt` the cohort"
        ) from None
    table = {row[0]: row[1] for row in rows[1:] if len(row) == 2 and row[1] in SPLITS}
    if not rows or rows[0] != HEADER or len(table) != len(rows) - 1:
        what = f"expected the columns {','.join(HEADER)}, one line per patient, splits {', '.join(SPLITS)}"
        raise CohortError(f"{path}: {what}; restore it from git")
    return table


def write(path: Path, table: Mapping[str, str]) -> None:
    """Write the table, whole or not at all, in its order."""
    write_text(path, "".join(f"{a},{b}\n" for a, b in [HEADER, *table.items()]))


def extend(table: Mapping[str, str], patients: Sequence[tuple[str, str]], cohort: Cohort) -> dict[str, str]:
    """The table with the new ones among `patients` (pseudonym, stratum) appended; nobody in it moves.

    `patients` are all of the cohort, in its order. The splits' sizes over them follow the shares of `cohort` as far as
    those already placed allow, and each stratum gets its part by largest remainder; the last patient of a stratum to
    be placed goes to train if no other of that stratum is there. Raises CohortError for fewer than three patients.
    """
    present = dict(patients)
    if len(present) < len(SPLITS):
        raise CohortError(
            f"{len(present)} patients cannot be split into {', '.join(SPLITS)}; a study needs at least {len(SPLITS)}"
        )
    new = [name for name in present if name not in table]
    rng = np.random.default_rng([cohort.split_seed, len(table)])
    waiting = {s: list(rng.permutation([n for n in new if present[n] == s])) for s in sorted(set(present.values()))}
    sizes = _sizes(len(present), cohort)
    placed: dict[str, str] = {}
    for split in ("hold-out", "validation"):
        held = sum(table.get(name) == split for name in present)
        for stratum, count in _apportion(waiting, _seeds(table, present), max(0, sizes[split] - held)).items():
            for _ in range(count):
                placed[str(waiting[stratum].pop())] = split
    return {**table, **{name: placed.get(name, "train") for name in new}}


def _sizes(total: int, cohort: Cohort) -> dict[str, int]:
    """Patients per split: the shares rounded, at least one each."""
    validation = max(1, round(total * cohort.validation))
    hold_out = max(1, round(total * cohort.hold_out))
    while validation + hold_out > total - 1:
        validation, hold_out = (validation - 1, hold_out) if validation > hold_out else (validation, hold_out - 1)
    return {"validation": validation, "hold-out": hold_out}


def _seeds(table: Mapping[str, str], present: Mapping[str, str]) -> set[str]:
    """Strata that have somebody in train already."""
    return {stratum for name, stratum in present.items() if table.get(name) == "train"}


def _apportion(waiting: Mapping[str, Sequence[str]], seeded: set[str], count: int) -> dict[str, int]:
    """`count` places over the strata by largest remainder, one of each stratum kept for train where that can be."""
    room = {s: len(names) - (s not in seeded) if names else 0 for s, names in waiting.items()}
    if sum(room.values()) < count:  # strata of one patient each: they cannot all go to train
        room = {s: len(names) for s, names in waiting.items()}
    total = sum(map(len, waiting.values()))
    count = min(count, sum(room.values()))
    share = {s: count * len(names) / max(total, 1) for s, names in waiting.items()}
    given = {s: min(room[s], int(share[s])) for s in waiting}
    while sum(given.values()) < count:
        open_ = [s for s in waiting if given[s] < room[s]]
        given[max(open_, key=lambda s: (share[s] - given[s], s))] += 1
    return given


def require_lesions(table: Mapping[str, str], bearing: set[str], where: str) -> None:
    """Refuse a study in which a split has no patient with a lesion; `bearing` are the pseudonyms that have one."""
    empty = [split for split in SPLITS if not any(table.get(name) == split for name in bearing)]
    if empty:
        what = f"no patient with a lesion in {' and '.join(empty)} ({len(bearing)} patients have one)"
        raise CohortError(f"{where}: {what}; adopt more labelled patients, or change the shares of its splits")
