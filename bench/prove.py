"""The gate's proof on fresh phantom patients: how often it refuses them, and how often it notices each defect.

Fresh patients are simulated with another seed than the study's own, prepared by the study's settings and measured with
its instruments, as people these do not know; no volume is kept. Batches drawn from them, as they are and with planted
defects, pose as batches from outside and are judged against the study's development patients. `dvc repro` must have
run; nothing is written but OUT: proof.json, proof.md, severities.svg and .scratch, from which a killed run continues.

Usage: python -m bench.prove [--patients 1000] [--workers 2] [--out reports/bench/proof]
"""

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import curves, defects, report, trials
from bench.defects import HARDER, Line, Pool
from bench.trials import CHUNK, MEASURED_IN, PLAIN, Planting, Row
from synthgate.cohort import store
from synthgate.cohort.store import Entry, Store
from synthgate.errors import CohortError, ParamsError, SynthgateError
from synthgate.files import digest_all, read_json, replacing, write_json, write_text
from synthgate.gate import controls, measured, plants
from synthgate.gate.copies import Search
from synthgate.gate.measured import Measured
from synthgate.gate.plants import COPIES, ImagePlant
from synthgate.scratch import Scratch

BLOCKS = 10
"""Parts of the fresh patients; a batch is drawn within one, so that batches of two parts have nobody in common."""
TOGETHER = 5
"""Batches a piece."""
COPY_BATCHES = 20
"""Batches of copies without a copy in common that are to be had."""
RATES = (1e-2, 1e-3, 1e-4)
"""False positives per case that the search for copies is asked for."""
UNSEEN, REDRAWN = "unseen_patients", "unseen_patients_and_reference"


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    study: str = "brain"
    patients: int = 1000
    spoiled: int = 240
    """Patients that each defect of pixels is planted in."""
    batches: int = 200
    """Batches of unseen patients."""
    defect_batches: int = 60
    """Batches of each defect at each severity."""
    size: int = 24
    """Cases of a batch."""
    seed: int = 4242
    workers: int = 2
    out: Path = Path("reports/bench/proof")

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.spoiled <= self.patients:
            told = f"{self.size}, {self.spoiled}, {self.patients}"
            raise ParamsError(f"expected --size ≤ --spoiled ≤ --patients, all above 0, got {told}")
        if self.patients < 2 * self.size:
            raise ParamsError(f"--patients: expected at least two batches of --size {self.size}, got {self.patients}")

    @property
    def blocks(self) -> int:
        """Disjoint parts of the patients, each twice a batch at least."""
        return min(BLOCKS, self.patients // (2 * self.size))


def main(settings: Settings) -> int:
    court = trials.convene(settings.study)
    out, root = settings.out, settings.out / ".scratch"
    key = trials.key_of(settings.study, seed=settings.seed)
    with Scratch.opened("patients", key, rooms=MEASURED_IN, root=root) as people:
        bench = [Path(module.__file__ or "") for module in (defects, trials)] + [Path(__file__)]
        code = {"patients": people.path.name, "code": digest_all(bench), "gate": court.row.gate}
        chosen = dataclasses.asdict(dataclasses.replace(settings, workers=0, batches=0, defect_batches=0))
        with Scratch.opened("batches", code | chosen, rooms=("gate", "stats", "features"), root=root) as judged:
            rows = prove(settings, people.path, judged.path)
        strangers = trials.pieces(people.path / PLAIN, settings.patients)
    found = report.summary(rows, settings.blocks, settings.size)
    found["strangers"] = called_copies(strangers, court.tools.reference)
    write_json(out / "proof.json", {"settings": report.plain(dataclasses.asdict(settings))} | found)
    write_text(out / "proof.md", report.markdown(found, settings.patients, settings.size))
    write_text(out / "severities.svg", curves.svg(found["defects"]))
    print(f"written: {out / 'proof.json'}, {out / 'proof.md'}, {out / 'severities.svg'}")
    return 0


def prove(settings: Settings, people: Path, judged: Path) -> dict[str, list[Row]]:
    """Name of each kind of batch → its batches as judged; unseen patients part by part."""
    planted = [*plants.TO_MEASURE, *HARDER]
    measure(settings, people, planted)
    rows = judge(settings, people, judged, names_of(settings, planted), planted)
    weak = sorted({plant.kind for plant in planted} - report.noticed(rows, planted))
    if further := defects.stronger(weak):
        measure(settings, people, further)
        rows |= judge(settings, people, judged, {plant.name: settings.defect_batches for plant in further}, further)
    return rows


def called_copies(strangers: Measured, reference: Measured) -> dict[str, Row]:
    """Rate of false positives per case that the search for copies is asked for → share of strangers it calls one."""
    search = Search(reference, None)
    strangers = controls.posing(strangers)
    return {
        f"{rate:g}": trials.share(int(search.suspects(strangers, rate).called.sum()), len(strangers)) for rate in RATES
    }


def names_of(settings: Settings, planted: Sequence[ImagePlant]) -> dict[str, int]:
    """Every kind of batch → how many."""
    each = -(-settings.batches // settings.blocks)
    parts = [f"{name}:{part}" for name in (UNSEEN, REDRAWN) for part in range(settings.blocks)]
    return dict.fromkeys(parts, each) | dict.fromkeys(
        defects.catalogue(planted, settings.size), settings.defect_batches
    )


# --- patients


def measure(settings: Settings, folder: Path, planted: Sequence[ImagePlant]) -> None:
    """Simulate and measure whatever is not there yet: fresh patients, then copies of training patients."""
    fresh = tuple(plant for plant in planted if plant.of != "train")
    firsts = [f for f in range(0, settings.patients, CHUNK) if wanted(settings, folder, fresh, f)]
    trials.spread(
        functools.partial(simulate, settings, folder, fresh), firsts, settings.workers, "fresh patients", "pieces"
    )
    copied = [plant for plant in planted if plant.of == "train"]
    train = len(trials.convene(settings.study).store.select("train"))
    repeats = -(-COPY_BATCHES * COPIES // train)
    tasks = trials.plantings(settings.study, folder, copied, ("train",), repeats)
    trials.spread(Planting.make, [t for t in tasks if not t.path.exists()], settings.workers, "copies", "pieces")


def wanted(
    settings: Settings, folder: Path, planted: Sequence[ImagePlant], first: int
) -> dict[Path, ImagePlant | None]:
    """The pieces that are missing of the fresh patients from the `first` on."""
    parts: list[ImagePlant | None] = [None, *(planted if first < settings.spoiled else ())]
    files = {folder / (part.name if part else PLAIN) / f"{first:05d}.npz": part for part in parts}
    return {file: part for file, part in files.items() if not file.exists()}


def simulate(settings: Settings, folder: Path, planted: Sequence[ImagePlant], first: int) -> None:
    """Simulate CHUNK patients, prepare them, measure what is missing of them, and drop their volumes."""
    court = trials.convene(settings.study)
    with tempfile.TemporaryDirectory() as beside:
        entries = [fresh_entry(settings.seed, index) for index in range(first, first + CHUNK)]
        scratch = Scratch(Path(beside)).within("shards")
        with trials.quiet():
            path = Path(beside) / "store"
            path.mkdir()
            store.write(path, entries, court.row.cohort.channels, court.row.prepare, scratch)
        there = Store.open(path)
        if {case.content for case in there.cases} & set(court.trial.contents):
            raise CohortError(f"--seed {settings.seed} simulates patients of the study itself; give another")
        for file, plant in wanted(settings, folder, planted, first).items():
            plain = measured.read(folder / PLAIN / file.name) if plant else None
            with replacing(file) as piece:
                trials.measure(court, there, there.cases, plant, plain).write(piece)


def fresh_entry(seed: int, index: int) -> Entry:
    """A simulated patient under a name that no study has."""
    from synthgate.cohort.phantom import simulate as phantom

    volume, attributes = phantom.patient(seed, index)
    name = f"fresh-{index:05d}"
    shown = {key: value for key, value in attributes.items() if key not in ("case_id", "patient_id")}
    return Entry(name, name, "fresh", (), shown, name, lambda: volume)


# --- batches


def judge(
    settings: Settings, people: Path, folder: Path, counts: Mapping[str, int], planted: Sequence[ImagePlant]
) -> dict[str, list[Row]]:
    """Kind of batch → its batches as judged; a kind that the patients do not allow has none."""
    tasks = [(name, first) for name, count in counts.items() for first in range(0, count, TOGETHER)]
    files = {task: folder / task[0] / f"{task[1]:05d}.json" for task in tasks}
    missing = [task for task in tasks if not files[task].exists()]
    work = functools.partial(judge_some, settings, people, folder, tuple(planted))
    trials.spread(work, missing, settings.workers, "judge", f"times {TOGETHER} batches")
    rows: dict[str, list[Row]] = {name: [] for name in counts}
    for (name, _), file in files.items():
        rows[name] += read_json(file)
    return {name: found[: counts[name]] for name, found in rows.items()}


def judge_some(
    settings: Settings, people: Path, folder: Path, planted: Sequence[ImagePlant], task: tuple[str, int]
) -> None:
    """Draw and judge TOGETHER batches of a kind."""
    name, first = task
    court = trials.convene(settings.study)
    pool = pool_of(settings, people)
    rows = []
    for index in range(first, first + TOGETHER):
        rng = trials.generator(settings.seed, name, index)
        if ":" in name:
            line, drawn = unseen(name, pool, settings.blocks, rng)
        else:
            line = defects.catalogue(planted, settings.size)[name]
            drawn = line.draw(pool, rng), pool.reference
        if drawn[0] is not None:
            rows.append(trials.judged(court.trial, line.plant, drawn[0], drawn[1], line.axes))
    write_json(folder / name / f"{first:05d}.json", rows)


def unseen(name: str, pool: Pool, blocks: int, rng: np.random.Generator) -> tuple[Line, tuple[Measured, Measured]]:
    """Unseen patients of one part of them, and whom they are judged against."""
    kind, part = name.split(":")
    line = Line(controls.GOOD, defects.good, redrawn=kind == REDRAWN)
    inside = np.arange(len(pool.fresh)) % blocks == int(part)
    if not line.redrawn:
        return line, (dataclasses.replace(pool, fresh=pool.fresh.rows(inside)).good(rng), pool.reference)
    return line, defects.fresh_reference(pool, inside, rng)


@functools.lru_cache(maxsize=1)
def pool_of(settings: Settings, people: Path) -> Pool:
    """The measured patients of a process; what was planted is read when it is asked for."""

    def spoiled(name: str) -> Measured:
        copies = name in {plant.name for plant in [*plants.TO_MEASURE, *HARDER] if plant.of == "train"}
        return trials.pieces(people / name, None if copies else settings.spoiled)

    fresh = trials.pieces(people / PLAIN, settings.patients)
    return Pool(settings.size, fresh, trials.convene(settings.study).tools.reference, spoiled)


def asked(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of a command line."""
    return trials.asked(Settings, __doc__ or "", arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(asked()))
    except SynthgateError as error:
        sys.exit(f"prove: {error}")
