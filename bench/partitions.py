"""The gate on real patients, of whom there are few: how often it refuses some of them, judged against the others.

The development patients are parted again and again, at random, into training patients, an unseen reference and a batch
that poses as one from outside; nothing is trained anew, since the instruments are cross-fitted by patient. Defects of
pixels are measured on all of them once and planted in the batch's part. Each site that is large enough is then judged
against the others: another institution is real drift, which is to be reported, and no false refusal. Copies are sought
here by the encoder of a patient's own fold alone, and among the nearest of all: bench/prove.py has the strangers' rate.

`dvc repro` must have run; nothing is written but OUT/<study>.json, OUT/<study>.md and OUT/.scratch, from which a killed
run continues. Usage: python -m bench.partitions [--study lgg] [--partitions 200] [--workers 2]
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bench import defects, report, trials
from bench.trials import MEASURED_IN, Planting, Row, percent
from synthgate.errors import ParamsError, SynthgateError
from synthgate.files import digest_all, read_json, write_json, write_text
from synthgate.gate import controls, plants
from synthgate.gate.likeness import Likeness
from synthgate.gate.measured import Measured
from synthgate.gate.plants import COPIES, Plant
from synthgate.gate.verdict import Axis
from synthgate.scratch import Scratch

LEAST = 8
"""Patients of a site that is judged against the others."""
TOGETHER = 5
"""Partitions a piece."""
GOOD = controls.GOOD.kind


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    study: str = "brain"
    partitions: int = 200
    defect_partitions: int = 60
    """Partitions that each defect is planted in; the first of them."""
    size: int = 0
    """Patients of a batch; 0 for a quarter of the development patients."""
    seed: int = 4242
    workers: int = 2
    out: Path = Path("reports/bench/partitions")


@dataclass(frozen=True)
class Partition:
    """Development patients as a batch and as whom it is judged against; indices of the reference table."""

    batch: np.ndarray
    train: np.ndarray
    unseen: np.ndarray

    def reference(self, table: Measured) -> Measured:
        """The patients outside the batch, under their new splits."""
        split = np.repeat(["train", "validation"], [len(self.train), len(self.unseen)])
        return dataclasses.replace(table.rows(np.concatenate([self.train, self.unseen])), split=split)


def main(settings: Settings) -> int:
    court, root = trials.convene(settings.study), settings.out / ".scratch"
    table = everybody(settings.study)[1]
    size = settings.size or len(table) // 4
    if not 1 < size < len(table) - 2:
        raise ParamsError(f"--size: expected 2 to {len(table) - 3} of {len(table)} development patients, got {size}")
    settings = dataclasses.replace(settings, size=size)
    with Scratch.opened("patients", trials.key_of(settings.study), rooms=MEASURED_IN, root=root) as people:
        tasks = trials.plantings(settings.study, people.path, plants.TO_MEASURE)
        trials.spread(
            Planting.make, [t for t in tasks if not t.path.exists()], settings.workers, "planted defects", "pieces"
        )
        code = digest_all([Path(module.__file__ or "") for module in (defects, trials)] + [Path(__file__)])
        chosen = dataclasses.asdict(dataclasses.replace(settings, workers=0, partitions=0, defect_partitions=0))
        key = chosen | {"patients": people.path.name, "code": code, "gate": court.row.gate}
        with Scratch.opened("batches", key, rooms=("gate", "stats", "features"), root=root) as judged:
            rows = judge(settings, people.path, judged.path)
    found = summary(settings, table, rows) | {"sites": by_site(settings.study)}
    out = settings.out / settings.study
    write_json(out.with_suffix(".json"), {"settings": report.plain(dataclasses.asdict(settings))} | found)
    write_text(out.with_suffix(".md"), markdown(found, len(table), size))
    print(f"written: {out}.json, {out}.md")
    return 0


def partition(table: Measured, size: int, seed: int, index: int) -> Partition:
    """A partition at random; the reference has as large a part unseen as the study's development patients have."""
    order = trials.generator(seed, "partition", index).permutation(len(table))
    left = len(table) - size
    unseen = max(1, round(left * float((table.split == "validation").mean())))
    return Partition(order[:size], order[size : len(table) - unseen], order[len(table) - unseen :])


# --- partitions, judged


def kinds() -> dict[str, Plant]:
    """The kinds of batches by name: good ones, and with every defect of the controls."""
    return {p.name: p for p in [*plants.TO_MEASURE, *(plant for plant, _ in plants.ROW_PLANTS)]} | {GOOD: controls.GOOD}


def batch_of(
    name: str, table: Measured, spoiled: Measured | None, parts: Partition, rng: np.random.Generator
) -> Measured | None:
    """The batch's part of the patients with the named defect; `spoiled` is what it made of all patients."""
    plant, good = kinds()[name], controls.posing(table.rows(parts.batch))
    plans = {plant.name: plan for plant, plan in plants.ROW_PLANTS}
    if name == GOOD:
        return good
    if name in plans:
        return plans[name](table.rows(rng.permutation(parts.train)), good)
    if spoiled is None:
        return None
    if getattr(plant, "of", "") == "train":
        return plants.some_are(spoiled.rows(rng.permutation(parts.train)[:COPIES]), good)
    return controls.posing(spoiled.rows(parts.batch))


def judge(settings: Settings, people: Path, folder: Path) -> dict[str, list[Row]]:
    """Kind of batch → the partitions as judged."""
    counts = {name: settings.partitions if name == GOOD else settings.defect_partitions for name in kinds()}
    tasks = [(name, first) for name, count in counts.items() for first in range(0, count, TOGETHER)]
    files = {task: folder / task[0] / f"{task[1]:05d}.json" for task in tasks}
    missing = [task for task in tasks if not files[task].exists()]
    work = functools.partial(judge_some, settings, people, folder)
    trials.spread(work, missing, settings.workers, "judge", f"times {TOGETHER} partitions")
    rows: dict[str, list[Row]] = {name: [] for name in counts}
    for (name, _), file in files.items():
        rows[name] += [row for row in read_json(file) if row["partition"] < counts[name]]
    return rows


def judge_some(settings: Settings, people: Path, folder: Path, task: tuple[str, int]) -> None:
    """Judge TOGETHER partitions with a defect."""
    name, first = task
    court = trials.convene(settings.study)
    table, rows = everybody(settings.study)[1], []
    spoiled = spoiled_by(settings.study, people, name)
    for index in range(first, first + TOGETHER):
        parts = partition(table, settings.size, settings.seed, index)
        rng = trials.generator(settings.seed, name, index)
        batch = batch_of(name, table, spoiled, parts, rng)
        if batch is not None:
            found = trials.judged(court.trial, kinds()[name], batch, parts.reference(table))
            rows.append(found | {"partition": index})
    write_json(folder / name / f"{first:05d}.json", rows)


@functools.cache
def everybody(study: str) -> tuple[Likeness, Measured]:
    """The development patients, each compared with all others: whoever is a training patient in a partition."""
    tools = trials.convene(study).tools
    fold = np.array([tools.judge.fold_of[name] for name in tools.reference.group])
    likeness = Likeness(tools.reference, fold, tools.likeness.networks)
    return likeness, likeness.among(tools.reference, fold)


@functools.lru_cache(maxsize=2)
def spoiled_by(study: str, people: Path, name: str) -> Measured | None:
    """What a plant made of all development patients; None for a plant that needs no pixels."""
    plant = {plant.name: plant for plant in plants.TO_MEASURE}.get(name)
    if plant is None:
        return None
    likeness, table = everybody(study)
    found = trials.of_cases(trials.pieces(people / name), table.case)
    return likeness(found) if plant.axis == "privacy" else table.likened(found)


def by_site(study: str) -> list[dict[str, Any]]:
    """Each site with at least LEAST patients as a batch before the others."""
    court, table, out = trials.convene(study), everybody(study)[1], []
    sites = np.array([json.loads(text).get("site", "") for text in table.attributes])
    for site in sorted(set(sites) - {""}):
        theirs = sites == site
        if theirs.sum() >= LEAST and (~theirs).sum() >= LEAST:
            others = table.rows(~theirs)
            found = trials.judged(court.trial, controls.GOOD, controls.posing(table.rows(theirs)), others)
            out.append({"site": site} | {k: found[k] for k in ("cases", "verdict", "by", "failed")})
    return out


# --- what was found


def summary(settings: Settings, table: Measured, rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """`unseen`: refusals of real patients, overall and by axis; `defects`: name → what was noticed."""
    good = rows[GOOD]
    found: dict[str, Any] = {
        "unseen": {
            "refused": over(settings, table, good, [row["verdict"] == "rejected" for row in good]),
            "axes": {
                axis: over(settings, table, good, [axis in row["by"] for row in good])
                for axis in get_args(Axis)
                if any(axis in row["by"] for row in good)
            },
        },
        "defects": {},
    }
    for name, some in rows.items():
        if name != GOOD and some:
            plant = kinds()[name]
            found["defects"][name] = report.noticing(plant, some) | {
                "right": over(settings, table, some, [row["right"] for row in some]),
                "noticed": over(settings, table, some, [plant.axis in row["by"] for row in some]),
            }
    return found


def over(settings: Settings, table: Measured, rows: Sequence[Row], hits: Sequence[bool]) -> Row:
    """A share of the partitions, with the interval that respects that they share patients."""
    members = np.zeros((len(rows), len(table)), bool)
    for row, there in zip(rows, members, strict=True):
        there[partition(table, settings.size, settings.seed, row["partition"]).batch] = True
    return trials.over_patients(np.array(hits), members)


def markdown(found: Mapping[str, Any], patients: int, size: int) -> str:
    """The tables for people."""
    ordered = sorted(found["defects"].values(), key=lambda row: (row["kind"], report.strength(row)))
    unseen, count = found["unseen"], found["unseen"]["refused"]["of"]
    return "\n".join(
        [
            f"# What the gate refuses and notices: {size} of {patients} development patients against the others\n",
            f"{count} partitions at random. They share their patients; the 95 % intervals respect it: infinitesimal "
            "jackknife over patients plus the variance of drawing finitely many partitions, as Clopper and Pearson's "
            "interval for as many independent batches as have this variance. Where none or all of the partitions are "
            "hit there is no variance to see, and the interval, that of independent batches, is too narrow.\n",
            "## Patients as they are\n",
            trials.table(
                ("", "share of partitions"),
                [
                    ("refused", percent(unseen["refused"])),
                    *((f"{axis} held something against it", percent(one)) for axis, one in unseen["axes"].items()),
                ],
            ),
            "## Planted defects\n",
            trials.table(report.HEAD, map(report.line, ordered)),
            f"## One site against the others (at least {LEAST} patients)\n",
            "Real drift, to be reported; no false refusal.\n",
            trials.table(
                ("site", "patients", "verdict", "axes", "findings that failed"),
                [
                    (row["site"], row["cases"], row["verdict"], ", ".join(row["by"]) or "–",
                     ", ".join(f"{name} ({weight})" for name, weight in sorted(row["failed"].items())) or "–")
                    for row in found["sites"]
                ],
            ),
        ]
    )  # fmt: skip


def asked(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of a command line."""
    return trials.asked(Settings, __doc__ or "", arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(asked()))
    except SynthgateError as error:
        sys.exit(f"partitions: {error}")
