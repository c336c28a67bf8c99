"""Reader of the cohort folder, DESIGN.md §3."""

from functools import partial
from pathlib import Path
from typing import Any

from synthgate.cohort import folder
from synthgate.cohort.case import Case, Problem, Source
from synthgate.cohort.nifti import SUFFIXES
from synthgate.errors import CohortError
from synthgate.files import read_json

CHANNELS = ("t1", "t1ce", "t2", "flair")
"""Order of the channels known by name; others follow by the alphabet."""
LABELS = (1, 2, 4)
"""Label values allowed where `source.json` declares none: those of BraTS."""


def read(source: Path, people: bool = True) -> Source:
    """Read a cohort folder; synthetic columns (generator, seed, intent, donors) are attributes like any other.

    With `people` False the table need not name patients.

    Raises CohortError where `cases.csv` is missing or is not a table.
    """
    facts = read_facts(source)
    rows = folder.read_table(source, people)
    problems = [] if rows else [Problem("fault", str(source / folder.TABLE), "it lists no cases", "add cases")]
    found = {p.name for p in source.iterdir() if p.is_dir() and not p.name.startswith(".")}
    listed: dict[str, dict[str, str]] = {}
    for row in rows:
        case_id = row["case_id"]
        if not folder.NAME.fullmatch(case_id):
            what = f"case_id {case_id!r} cannot name a folder"
            problems.append(_fault(source / folder.TABLE, what, f"use {folder.NAMED_BY}"))
        elif case_id in listed:
            what = f"case {case_id} is listed twice"
            problems.append(_fault(source / folder.TABLE, what, "give each imaging study an id of its own"))
        elif case_id not in found:
            what = f"case {case_id} is listed in {folder.TABLE} and has no folder"
            problems.append(_fault(source / case_id, what, "add its folder, or take its line out"))
        else:
            listed[case_id] = row
    channels, strays = _channels(source, list(listed))
    problems += strays
    for name in sorted(found - {row["case_id"] for row in rows}):
        what = f"{folder.TABLE} does not list this folder, so it is left out"
        problems.append(Problem("flag", str(source / name), what, "add its line, if it is a case"))
    for case_id in listed:
        problems += _unexpected(source / case_id)
    cases = [_case(source, row, channels) for row in listed.values()]
    labels = tuple(facts.get("labels", LABELS))
    return Source(cases, problems, channels, labels, tuple(facts.get("terms", ())))


def read_facts(source: Path) -> dict[str, Any]:
    """What `source.json` says: simulated, terms, flags, labels, layout; empty where there is none."""
    path = source / folder.SOURCE
    if not path.is_file():
        return {}
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise CohortError(f"{path}: expected a JSON object with terms and flags; repair it or remove it")
    for name, kind in (("labels", int), ("terms", str)):
        value = facts.get(name, [])
        if not isinstance(value, list) or not all(type(one) is kind for one in value):
            what = {int: "whole numbers", str: "texts"}[kind]
            raise CohortError(f"{path}: {name}: expected a list of {what}, got {value!r}; repair it or remove it")
    return facts


def _fault(where: Path, what: str, remedy: str) -> Problem:
    return Problem("fault", str(where), what, remedy)


def _channels(source: Path, case_ids: list[str]) -> tuple[tuple[str, ...], list[Problem]]:
    """The channels that at least half of the cases have, so that what one lacks is missed; and images that few have."""
    having: dict[str, list[str]] = {}
    for case_id in case_ids:
        for name in folder.channels_in(source / case_id):
            having.setdefault(name, []).append(case_id)
    few = {name: cases for name, cases in having.items() if 2 * len(cases) < len(case_ids) and name not in CHANNELS}
    names = sorted(set(having) - set(few), key=lambda n: (CHANNELS.index(n) if n in CHANNELS else len(CHANNELS), n))
    what = "an image that most cases lack, and no channel we know by name: it is left out"
    remedy = "give it to every case, if it is a channel"
    strays = [Problem("note", str(source / c / name), what, remedy) for name, cases in few.items() for c in cases]
    return tuple(names), strays


def _unexpected(path: Path) -> list[Problem]:
    odd = sorted(p.name for p in path.iterdir() if not p.name.endswith(SUFFIXES))
    return [Problem("note", str(path), f"files that no reader uses: {', '.join(odd)}", "none needed")] if odd else []


def _case(source: Path, row: dict[str, str], channels: tuple[str, ...]) -> Case:
    path = source / row["case_id"]
    attributes = {key: value for key, value in row.items() if key not in folder.KEYS and value}
    return Case(row["case_id"], row["patient_id"], str(path), partial(folder.load_case, path, channels), attributes)
