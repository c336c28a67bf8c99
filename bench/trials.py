"""What `prove.py` and `partitions.py` share: the study, cases measured in pieces, judged batches, intervals.

A batch is judged as the controls of every run are (`synthgate.gate.controls`). Work is spread over processes; what a
process needs it opens by itself, and what it draws depends on names and the seed alone, so the number of processes
changes nothing.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import multiprocessing
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from scipy import stats

from synthgate import params, places
from synthgate.cards import inputs_of
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import ArtefactError, ParamsError
from synthgate.files import digest_all, replacing
from synthgate.gate import controls, instruments, judge, likeness, measured, plants
from synthgate.gate.instruments import DEVELOPMENT, Instruments
from synthgate.gate.measured import Measured, stack
from synthgate.gate.plants import ImagePlant, Plant
from synthgate.gate.trial import Trial
from synthgate.params import StudyRow
from synthgate.progress import tracked
from synthgate.scratch import Scratch
from synthgate.stats.intervals import t_interval

CONFIDENCE = 0.95
CHUNK = 8
"""Cases a piece."""
PLAIN = "plain"
"""The piece of cases nothing is planted in."""
Row = dict[str, Any]
"""A batch as judged: cases, verdict, by (axes), failed (axis/finding → weight), right."""
Task, Result = TypeVar("Task"), TypeVar("Result")


# --- the study


@dataclass(frozen=True)
class Court:
    """A study in which `dvc repro` has run: its patients, its instruments, its gate."""

    row: StudyRow
    store: Store
    tools: Instruments

    @property
    def trial(self) -> Trial:
        """The study's gate, before which a batch is yet to come."""
        return Trial(
            batch=self.tools.reference,
            reference=self.tools.reference,
            params=self.row.gate,
            regions=self.row.cohort.regions,
            intent="realistic",
            split_of={case.patient: case.split for case in self.store.cases},
            contents={case.content: case.patient for case in self.store.cases},
        )


@functools.cache
def convene(study: str) -> Court:
    """Open the study; raises ParamsError where there is none of the name, ArtefactError where it has not been run."""
    studies = params.load().studies
    if study not in studies:
        raise ParamsError(f"no study {study} in params.yaml; the studies are {', '.join(studies)}")
    for folder in (places.build(study), places.judges(study)):
        if not folder.is_dir():
            raise ArtefactError(f"{folder} is missing; run `dvc repro calibrate@{study}` first, in this folder")
    row, store = studies[study], Store.open(places.build(study))
    tools = instruments.load(places.judges(study), len(store.channels), row.cohort.regions, row.calibrate)
    return Court(row, store, tools)


def key_of(study: str, **settings: Any) -> dict[str, Any]:
    """What measured pieces depend on, beside the code in the rooms `MEASURED_IN`: keep them in such a scratch."""
    code = [Path(module.__file__ or "") for module in (measured, instruments, likeness, plants)]
    return settings | {"inputs": inputs_of([places.build(study), places.judges(study)]), "code": digest_all(code)}


MEASURED_IN = ("cohort", "features", "learning")


# --- cases, measured in pieces


def measure(
    court: Court, store: Store, cases: Sequence[StoredCase], plant: ImagePlant | None = None,
    plain: Measured | None = None, repeat: int = 0,
) -> Measured:  # fmt: skip
    """Measure cases, or what a plant makes of them, as `instruments.make` does.

    With a plant for another axis than agreement the judge is not asked again, nor are copies sought but for privacy:
    what was found of the `plain` cases stays.
    """
    asked = court.tools.judge if plant is None or plain is None or plant.axis == "agreement" else None
    change = plant.change(court.row.calibrate.seed + repeat) if plant else None
    with tempfile.TemporaryDirectory() as beside, quiet():
        found = instruments.measure_all(
            store, cases, court.row.cohort.regions, court.tools.spaces, asked, Scratch(Path(beside)), "cases", change
        )
    if plant is None or plain is None:
        return court.tools.likeness(found)
    same = of_cases(plain, found.case)
    if asked is None:
        found = dataclasses.replace(found, dice=same.dice)
    return court.tools.likeness(found) if plant.axis == "privacy" else same.likened(found)


def quiet() -> contextlib.redirect_stderr[io.StringIO]:
    """Without the progress of the library: that of a few cases is nothing to show."""
    return contextlib.redirect_stderr(io.StringIO())


def of_cases(table: Measured, cases: Iterable[str]) -> Measured:
    """The rows of the named cases, in their order."""
    place = {name: index for index, name in enumerate(table.case)}
    return table.rows(np.array([place[name] for name in cases], int))


@dataclass(frozen=True)
class Planting:
    """A plant in CHUNK of the study's own patients, of the given splits, from the `first` on."""

    study: str
    folder: Path
    plant: ImagePlant
    splits: tuple[str, ...]
    first: int
    repeat: int = 0

    @property
    def path(self) -> Path:
        """Its piece."""
        return self.folder / self.plant.name / f"{self.repeat:02d}-{self.first:05d}.npz"

    def make(self) -> None:
        """Measure."""
        court = convene(self.study)
        cases = court.store.select(*self.splits)[self.first : self.first + CHUNK]
        with replacing(self.path) as beside:
            measure(court, court.store, cases, self.plant, court.tools.reference, self.repeat).write(beside)


def plantings(
    study: str, folder: Path, chosen: Sequence[ImagePlant], splits: tuple[str, ...] = DEVELOPMENT, repeats: int = 1
) -> list[Planting]:
    """All pieces of the plants in the study's own patients."""
    count = len(convene(study).store.select(*splits))
    return [
        Planting(study, folder, plant, splits, first, repeat)
        for plant in chosen for repeat in range(repeats) for first in range(0, count, CHUNK)
    ]  # fmt: skip


@functools.lru_cache(maxsize=2)
def pieces(folder: Path, most: int | None = None) -> Measured:
    """The first `most` measured cases of a folder of pieces, all by default."""
    files = sorted(folder.glob("*.npz"))[: None if most is None else -(-most // CHUNK)]
    if not files:
        raise ArtefactError(f"{folder} holds no measured pieces; remove its scratch folder and start again")
    return stack([measured.read(file) for file in files]).rows(np.arange(most) if most else slice(None))  # type: ignore[arg-type]


# --- batches, judged


def judged(
    trial: Trial, plant: Plant, batch: Measured, reference: Measured, axes: Sequence[ModuleType] = judge.AXES
) -> Row:
    """What the gate says of a batch whose right verdict is known."""
    verdict = controls.verdict_on(trial, plant.name, batch, reference, axes)
    control = controls.held_against(plant, verdict)
    failed = {f"{f.axis}/{f.name}": f.weight for f in verdict.findings if f.bad and f.weight != "informs"}
    return {
        "cases": len(batch), "verdict": control.verdict, "by": list(control.by), "failed": failed,
        "right": bool(control.right),
    }  # fmt: skip


def drawn(table: Measured, count: int, rng: np.random.Generator) -> Measured:
    """So many cases of a table, none twice."""
    return table.rows(rng.permutation(len(table))[:count])


def generator(seed: int, *names: object) -> np.random.Generator:
    """Randomness of its own for whatever has these names."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


def spread(
    function: Callable[[Task], Result], tasks: Collection[Task], workers: int, what: str, unit: str
) -> list[Result]:
    """The results of the tasks, in their order, by several processes."""
    if workers == 1 or len(tasks) < 2:
        return list(tracked(map(function, tasks), len(tasks), what, unit))
    # spawned, because torch and Great Expectations start threads that a fork would leave behind half alive
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=one_thread) as pool:
        return list(tracked(pool.map(function, tasks), len(tasks), what, unit))


def one_thread() -> None:
    """Let the processes share the cores."""
    import torch

    torch.set_num_threads(1)


def asked(settings: type[Result], about: str, arguments: Sequence[str] | None = None) -> Result:
    """The dataclass `settings` from a command line: an option per field, named and defaulting like it."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default, help="default %(default)s")
    return settings(**vars(parser.parse_args(arguments)))


# --- shares and their intervals


def share(successes: int, total: int, effective: float | None = None) -> Row:
    """A share with Clopper and Pearson's interval, for `effective` instead of `total` independent batches if given."""
    value = successes / total
    size = total if effective is None else effective
    tail, hits = (1 - CONFIDENCE) / 2, value * size
    low = float(stats.beta.ppf(tail, hits, size - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, size - hits)) if hits < size else 1.0
    return {"share": value, "low": low, "high": high, "of": total}


def over_blocks(blocks: Sequence[Sequence[bool]]) -> Row | None:
    """A share with Student's interval over blocks that have no patient in common; None below two blocks."""
    found = t_interval(np.array([np.mean(block) for block in blocks]), CONFIDENCE)
    if found is None:
        return None
    return {"share": found.mean, "low": max(0.0, found.low), "high": min(1.0, found.high), "of": len(blocks)}


def over_patients(hits: np.ndarray, members: np.ndarray) -> Row:
    """A share over batches that were drawn from the same few patients, with an interval that respects it.

    `hits` bool [batch], `members` bool [batch, patient]. The variance is that of the patients (`jackknife`, less its
    Monte Carlo bias) and that of drawing finitely many batches. The interval is Clopper and Pearson's with as many
    independent batches as have this variance (Korn, Graubard 1998). Where no batch is hit, or every one, the variance
    says nothing, and the batches count as independent.
    """
    successes, variance = int(hits.sum()), float(np.var(hits))
    batches, patients = members.shape
    if variance == 0:
        return share(successes, batches)
    size = float(members.sum(axis=1).mean())
    # each covariance has the Monte Carlo variance k (n−k)/n² · variance/batches, and there are n of them
    noise = (patients - 1) / (patients - size) * size * variance / batches
    total = max(0.0, jackknife(np.asarray(hits, float), members) - noise) + variance / batches
    return share(successes, batches, min(batches, variance / total))


def jackknife(values: np.ndarray, members: np.ndarray) -> float:
    """Variance over patients of the mean of `values` [batch], each a statistic of its `members` [batch, patient].

    The infinitesimal jackknife of subsamples without replacement, (n−1)/n (n/(n−k))² Σ cov(member, value)² for k of n
    patients (Wager, Athey, JASA 2018, eq. 8).
    """
    batches, patients = members.shape
    covariance = (members - members.mean(axis=0)).T @ (values - values.mean()) / batches
    left = patients / (patients - float(members.sum(axis=1).mean()))
    return (patients - 1) / patients * left**2 * float((covariance**2).sum())


def percent(found: Mapping[str, Any] | None) -> str:
    """A share and its interval in words."""
    if found is None:
        return "–"
    return f"{found['share']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"
