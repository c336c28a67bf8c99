"""What `prove.py` found, summed up: shares with their intervals, as JSON and as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from bench import defects, trials
from bench.defects import ENOUGH, by_strength
from bench.trials import Row, percent
from synthgate.gate.plants import Plant
from synthgate.gate.verdict import Axis

WEIGHTS = ("rejects", "thins", "limits")
HEAD = ("kind", "severity", "axis", "right verdict by the right axis", "noticed by the axis", "others")


def summary(rows: Mapping[str, Sequence[Row]], blocks: int, size: int) -> dict[str, Any]:
    """`unseen`: kind → its refusals; `defects`: name → what was noticed."""
    found: dict[str, Any] = {"unseen": {}, "defects": {}}
    for kind in dict.fromkeys(name.split(":")[0] for name in rows if ":" in name):
        parts = [rows[f"{kind}:{part}"] for part in range(blocks)]
        found["unseen"][kind] = refusals(parts)
    lines = defects.catalogue(defects.ALL_MEASURED, size)
    for name, some in rows.items():
        if ":" not in name and some:
            found["defects"][name] = noticing(lines[name].plant, some)
    return found


def refusals(parts: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """How often good batches are refused, part by part, and what each axis held against them."""
    rows = [row for part in parts for row in part]
    refused = [row["verdict"] == "rejected" for row in rows]
    return {
        "refused": trials.share(sum(refused), len(rows)),
        "refused_over_parts": trials.over_blocks([[row["verdict"] == "rejected" for row in part] for part in parts]),
        "axes": {axis: held(rows, axis) for axis in get_args(Axis) if any(axis in row["by"] for row in rows)},
    }


def held(rows: Sequence[Row], axis: str) -> dict[str, Any]:
    """Share of batches in which a finding of the axis failed, by what its failure does."""
    weights = [{w for name, w in row["failed"].items() if name.split("/")[0] == axis} for row in rows]
    return {weight: trials.share(sum(weight in some for some in weights), len(rows)) for weight in WEIGHTS}


def noticing(plant: Plant, rows: Sequence[Row]) -> dict[str, Any]:
    """How often a defect was judged right, noticed by the axis that should, and what the others said."""
    others = [axis for axis in get_args(Axis) if axis != plant.axis]
    shares = {axis: sum(axis in row["by"] for row in rows) / len(rows) for axis in others}
    return {
        "kind": plant.kind, "severity": plant.severity, "axis": plant.axis, "expects": plant.expects,
        "declared": plant.declared, "cases": sum(row["cases"] for row in rows) / len(rows),
        "right": trials.share(sum(row["right"] for row in rows), len(rows)),
        "noticed": trials.share(sum(plant.axis in row["by"] for row in rows), len(rows)),
        "others": {axis: value for axis, value in shares.items() if value},
    }  # fmt: skip


def noticed(rows: Mapping[str, Sequence[Row]], planted: Sequence[Plant]) -> set[str]:
    """Kinds of which some severity is judged right in `ENOUGH` of the batches."""
    known = [plant for plant in planted if rows.get(plant.name)]
    return {p.kind for p in known if sum(r["right"] for r in rows[p.name]) >= ENOUGH * len(rows[p.name])}


def markdown(found: Mapping[str, Any], patients: int, size: int) -> str:
    """The tables for people."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in found["defects"].values():
        by_kind.setdefault(row["kind"], []).append(row)
    stated = [row for row in found["defects"].values() if (row["kind"], row["severity"]) in defects.STATED]
    return "\n".join(
        [
            f"# What the gate refuses and notices, on {patients} fresh phantom patients, {size} cases a batch\n",
            "Intervals are 95 %: Clopper and Pearson's over batches; over parts, Student's over disjoint parts of the "
            "patients, from each of which its own batches were drawn. Every batch poses as one from outside.\n",
            "## Unseen patients\n",
            trials.table(("batches", "refused", "refused, over parts of the patients"), [
                (told(kind), f"{percent(one['refused'])} of {one['refused']['of']}", percent(one["refused_over_parts"]))
                for kind, one in found["unseen"].items()
            ]),
            "Where the reference is redrawn too, privacy is left out: copies are sought among the "
            "study's patients; and its parts have patients of the reference in common.\n",
            trials.table(("batches", "axis", *WEIGHTS), [
                (told(kind), axis, *(percent(shares[weight]) for weight in WEIGHTS))
                for kind, one in found["unseen"].items() for axis, shares in one["axes"].items()
            ]),
            "## Strangers called a copy\n",
            trials.table(("asked for, per case", "called"), [
                (rate, f"{percent(one)} of {one['of']}") for rate, one in found["strangers"].items()
            ]),
            "## Global defects at the severities they are to be noticed at\n",
            trials.table(HEAD, [line(row) for row in stated]),
            "## Every severity, from the least noticeable on\n",
            "Share of batches with the right verdict by the right axis; the last column is the first severity from "
            f"which on at least {ENOUGH:.0%} of the batches are judged right.\n",
            trials.table(("kind", "axis", "expects", "cases", "severity: right", f"from which on {ENOUGH:.0%}"),
                         [_severities(kind, rows) for kind, rows in by_kind.items()]),
            "## What else was held against them\n",
            trials.table(HEAD, [line(row) for rows in by_kind.values() for row in sorted(rows, key=strength)]),
        ]
    )  # fmt: skip


def line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A defect at a severity, as a row under HEAD."""
    others = ", ".join(f"{axis} {value:.0%}" for axis, value in sorted(row["others"].items()))
    return (told(row["kind"]), f"{row['severity']:g}", row["axis"], percent(row["right"]), percent(row["noticed"]),
            others or "–")  # fmt: skip


def _severities(kind: str, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    ordered = sorted(rows, key=strength)
    reached = None
    for row in reversed(ordered):
        if row["right"]["share"] < ENOUGH:
            break
        reached = row["severity"]
    shown = "; ".join(f"{row['severity']:g}: {percent(row['right'])}" for row in ordered)
    cases = sum(row["cases"] for row in rows) / len(rows)
    return (told(kind), rows[0]["axis"], " or ".join(dict.fromkeys(row["expects"] for row in ordered)), f"{cases:.0f}",
            shown, "none" if reached is None else f"{reached:g}")  # fmt: skip


def strength(row: Mapping[str, Any]) -> float:
    """Grows with how noticeable the severity is."""
    return by_strength(Plant(row["kind"], row["axis"], row["severity"]))


def told(name: str) -> str:
    """A name in words."""
    return name.replace("_", " ")


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
