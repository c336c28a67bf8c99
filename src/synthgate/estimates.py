"""Time, memory and disk that the current parameters will take: estimates, from one measured training step each."""

import contextlib
import io
import itertools
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from synthgate import places, workers
from synthgate.params import Learned, Params, Segmenter, StudyRow

REPEATS = 3
# Seconds on one core of a 2024 server, head volumes of 2 mm with four channels; rough, and only for the short stages.
# Measure again: `OMP_NUM_THREADS=1 dvc repro -s -f STAGE@ROW`, the time it takes divided by its cases.
# All were measured so in the shipped run (100 patients, 60 behind the generator, 48 synthetic cases), and rounded up.
START_S = 6.0
"""Imports of a stage's process."""
PREPARE_S = 0.15
TRAIN_GENERATOR_S = 0.25
SYNTHESIZE_S = 0.4
PLANTED_S = 0.12
GATE_S = 0.7
GATE_START_S = 25.0
"""Imports of Great Expectations and Evidently, nulls and controls."""
GENERATOR_PATIENTS = 60
"""Assumed where a generator's row says all and the splits table is not there."""
UNKNOWN_SHAPE = (100, 120, 80)
"""Assumed grid of a case while the data are not there."""


@dataclass(frozen=True)
class Extent:
    """How much data a study has."""

    cases: int
    splits: Mapping[str, int]
    """Patients per split."""
    slices: int
    """Of its first case; the others are assumed alike."""
    data_bytes: int
    known: bool
    """False where the data are not there and a typical size stands in."""


@dataclass(frozen=True)
class Estimate:
    """What a whole `dvc repro` is expected to take; nothing in it is a promise."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Stage@row → seconds, in the order of the road."""
    steps_s: dict[str, float] = field(default_factory=dict)
    """Measured seconds of one training step, by study and stage."""
    memory_bytes: int = 0
    """Highest resident memory of this process after those steps: libraries, network, batch (stores are mapped); so
    many times as trainings may run side by side."""
    disk_bytes: int = 0
    """Data, stores and batches, each once in the workspace and once in DVC's cache."""
    assumed: tuple[str, ...] = ()
    """Studies whose data are not there, so that typical sizes stand in."""
    device: str = "cpu"

    @property
    def total_s(self) -> float:
        """All stages one after another."""
        return sum(self.seconds.values())


def estimate(params: Params, root: Path = Path()) -> Estimate:
    """Measure one training step per segmenter of `params` and add up the road; takes some seconds per segmenter."""
    import torch

    from synthgate.gate.plants import TO_MEASURE

    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = Estimate(device=device)
    disk, assumed, known = 0.0, [], {}
    for name, row in params.studies.items():
        size = extent(name, row, root)
        channels, regions = len(row.cohort.channels), len(row.cohort.regions)
        step = partial(step_seconds, channels=channels, regions=regions, device=device)
        judge, arm = (found.steps_s.setdefault(f"{name} {what}", step(segmenter)) for what, segmenter in (
            ("calibrate", row.calibrate.segmenter), ("study", row.study.segmenter)))  # fmt: skip
        development = size.splits["train"] + size.splits["validation"]
        found.seconds[f"prepare@{name}"] = START_S + PREPARE_S * size.cases
        folds, trainings = row.calibrate.folds, len(row.study.arms) * row.study.draws
        found.seconds[f"calibrate@{name}"] = (
            START_S + folds * row.calibrate.segmenter.steps * judge
            + development * _volume_s(row.calibrate.segmenter, judge, size.slices)
            + PLANTED_S * sum(min(plant.most, size.splits[plant.of]) for plant in TO_MEASURE)
        )  # fmt: skip
        volumes = trainings * size.splits["validation"] + bool(row.study.folds) * development
        found.seconds[f"study@{name}"] = (
            START_S + (trainings + row.study.folds) * row.study.segmenter.steps * arm
            + volumes * _volume_s(row.study.segmenter, arm, size.slices)
        )  # fmt: skip
        found.seconds[f"release@{name}"] = (
            START_S + size.splits["hold-out"] * _volume_s(row.study.segmenter, arm, size.slices)
        )  # fmt: skip
        made = sum(batch.cases for batch in params.batches.values() if batch.study == name)
        stored = row.prepare.size[0] * row.prepare.size[1] * size.slices * (2 * channels + 1)
        each = size.data_bytes / max(size.cases, 1)
        disk += 2 * (size.data_bytes + size.cases * stored) + made * (2 * each + stored)
        assumed += [] if size.known else [name]
        known[name] = size
    paint = {}
    for name, generator in params.generators.items():
        row, patients = params.studies[generator.study], generator.patients.size
        count = known[generator.study].splits["train"] if patients == "all" else patients
        found.seconds[f"train_generator@{name}"] = START_S + TRAIN_GENERATOR_S * count
        if isinstance(generator, Learned):
            fitting = generator.fitting
            taken, paint[name] = painter_seconds(generator, len(row.cohort.channels), row.prepare.size, device)
            found.steps_s[f"{generator.study} train_generator {name}"] = taken
            judged = -(-fitting.steps // fitting.checkpoint_every) * 2 * fitting.judged
            found.seconds[f"train_generator@{name}"] += fitting.steps * taken + judged * paint[name]
    for name, batch in params.batches.items():
        each = SYNTHESIZE_S + paint.get(batch.generator, 0.0) * known[batch.study].slices
        found.seconds[f"synthesize@{name}"] = START_S + each * batch.cases
        found.seconds[f"gate@{name}"] = GATE_START_S + GATE_S * batch.cases
    unit = 1 if sys.platform == "darwin" else 1024
    beside = [max(row.calibrate.folds, len(row.study.arms) * row.study.draws) for row in params.studies.values()]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit * min(workers.cores(), max(beside, default=1))
    return Estimate(found.seconds, found.steps_s, memory, int(disk), tuple(assumed), device)


def extent(study: str, row: StudyRow, root: Path = Path()) -> Extent:
    """Count a study's cases, patients, slices and bytes on disk; a typical size where the data are not there."""
    table = root / places.splits(study)
    lines = table.read_text(encoding="utf-8").splitlines()[1:] if table.is_file() else []
    total = len(lines) or GENERATOR_PATIENTS
    shares = {"validation": row.cohort.validation, "hold-out": row.cohort.hold_out}
    splits = {
        name: sum(x.endswith(f",{name}") for x in lines) if lines else round(total * s) for name, s in shares.items()
    }
    splits["train"] = total - sum(splits.values())
    folder = root / places.data(study)
    first = next(folder.glob("*/*.nii*"), None)
    if first is None:
        voxels = UNKNOWN_SHAPE[0] * UNKNOWN_SHAPE[1] * UNKNOWN_SHAPE[2]
        return Extent(total, splits, UNKNOWN_SHAPE[2], total * voxels * len(row.cohort.channels), False)
    import nibabel

    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    slices = int(nibabel.load(first).shape[2])  # type: ignore[attr-defined]
    return Extent(len({path.parent for path in folder.glob("*/*.nii*")}), splits, slices, size, True)


def step_seconds(params: Segmenter, channels: int, regions: int, device: str = "cpu") -> float:
    """Median seconds of one real training step, augmentation included, on random data."""
    import numpy as np
    import torch

    from synthgate.learning import augment
    from synthgate.learning.fitting import Training
    from synthgate.learning.segmenter import build

    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((params.batch, channels, *params.patch), np.float32))
    target = (image[:, :1] > 0.9).float().expand(-1, regions, *params.patch).contiguous()
    with torch.random.fork_rng(devices=[]):
        module = Training(build(params, channels, regions), params).to(device)
    optimiser = module.configure_optimizers()["optimizer"]
    taken = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        moved = augment.apply(image, target, augment.draw(rng, params.batch, channels, params.spatial_dims))
        loss = module.training_step((moved[0].to(device), moved[1].to(device)), 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()  # waits for an accelerator
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # the first one warms up


def painter_seconds(params: Learned, channels: int, size: tuple[int, int], device: str = "cpu") -> tuple[float, float]:
    """Median seconds of one training step of a learned generator, and of painting one slice, on random data."""
    import torch

    from synthgate.generators.learned import teaching
    from synthgate.generators.learned.conditions import Conditions
    from synthgate.generators.learned.painter import paint
    from synthgate.generators.learned.slices import CHANCES, Drawn
    from synthgate.learning.loop import fit

    conditions, count = Conditions((1,), (), ()), params.fitting.batch
    told = torch.rand(count, conditions.channels(channels), *size)
    image, group = told[:, :channels], torch.zeros(count, dtype=torch.long)
    asked: list[float] = []

    def batch(_: int) -> Drawn:
        asked.append(time.perf_counter())
        return Drawn(image, told, group, torch.randn_like(image), torch.rand(count, CHANCES))

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        module = teaching.module_of(params, channels, conditions)
        with contextlib.redirect_stderr(io.StringIO()):
            fit(module, batch, 2 + REPEATS, 2 + REPEATS, Path(folder) / "checkpoint", "", count, accelerator=device)
        start = time.perf_counter()
        paint(module.network.cpu().eval(), params, told, group, lambda: torch.randn_like(image))
    taken = [after - before for before, after in itertools.pairwise(asked)]
    return statistics.median(taken[1:]), (time.perf_counter() - start) / count


def _volume_s(params: Segmenter, step_s: float, slices: int) -> float:
    """Answering one volume: a forward pass is about a third of a step, each slice is seen twice (mirrored)."""
    seen = slices if params.spatial_dims == 2 else 8 * max(1, slices // params.patch[2])  # windows overlap by half
    return 2 * seen * step_s / (3 * params.batch)
