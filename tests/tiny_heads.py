"""A small cohort with planted clusters and lesions, prepared into a store; used by the generators' tests."""

import dataclasses
from pathlib import Path

import numpy as np

from synthgate import params
from synthgate.cohort.case import Volume
from synthgate.cohort.store import Entry, Store, write
from synthgate.generators.patients import chosen
from synthgate.generators.training import train
from synthgate.params import Batch, Generator, Patients, Randomised
from synthgate.scratch import Scratch

CHANNELS = ("t1", "flair")
SHAPE = (32, 40, 8)
LEVELS = ((200.0, 900.0), (500.0, 500.0), (900.0, 300.0))
"""Intensity per planted cluster and channel: shell, body, core."""
LESION = {1: (150.0, 200.0), 2: (400.0, 1200.0)}
SPLITS = ["train"] * 6 + ["validation", "hold-out"]
PATIENTS = Patients("all", 0)
ROW = Randomised(study="brain", kind="randomised", patients=PATIENTS, clusters=3, smoothing=0.5, recombine=True, seed=0)
BATCH = Batch("brain", "tiny", cases=4, seed=7, intent="training-only")
PREPARE = dataclasses.replace(
    params.load(Path(__file__).parents[1] / "params.yaml").studies["brain"].prepare, size=(32, 32)
)
PEOPLE = [f"patient{number}" for number in range(len(SPLITS))]
TABLE = dict(zip(PEOPLE, SPLITS, strict=True))


def planted(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each voxel (-1 outside the head) and label, both [x, y, z]; symmetric in x but for the lesion."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + (0.6 * z) ** 2) * (1.05 + 0.02 * number)
    clusters = np.digitize(-radius, [-1.0, -0.75, -0.35]) - 1
    away = np.sqrt((x - 0.4) ** 2 + (y - 0.1 * (number % 3)) ** 2 + (0.5 * z) ** 2)
    label = np.where(away < 0.2, 1, np.where(away < 0.36, 2, 0))
    if number == 5:  # a training patient without a lesion
        label[:] = 0
    return clusters, np.where(clusters >= 0, label, 0).astype(np.uint8)


def volume(number: int, *, spacing_known: bool = True) -> Volume:
    clusters, label = planted(number)
    rng = np.random.default_rng([5, number])
    images = {}
    for channel, name in enumerate(CHANNELS):
        image = np.array([*(level[channel] for level in LEVELS), 0.0])[clusters]
        for value, levels in LESION.items():
            image[label == value] = levels[channel]
        images[name] = (np.where(clusters >= 0, image + rng.normal(0, 15, SHAPE), 0)).astype(np.float32)
    return Volume(images, label, np.diag([2.0, 2.0, 5.0, 1.0]), spacing_known)


def store(folder: Path, *, spacing_known: bool = True) -> Store:
    entries = [
        Entry(f"case{n}", PEOPLE[n], split, (), {"site": "AB"[n % 2], "sex": "F", "gene": "x"}, f"case {n}",
              lambda n=n: volume(n, spacing_known=spacing_known))
        for n, split in enumerate(SPLITS)
    ]  # fmt: skip
    with Scratch.opened("prepare", {}, root=folder / "scratch") as scratch:
        write(folder / "store", entries, CHANNELS, PREPARE, scratch)
    return Store.open(folder / "store")


def trained(folder: Path, made: Store, row: Generator = ROW, **changed: object) -> Path:
    """Train on the training patients (or what `changed` says) and return the generator's folder."""
    patients = chosen([case.patient for case in made.select("train")], row.patients)
    given = {"cases": [case for case in made.cases if case.patient in patients], "patients": patients} | changed
    with Scratch.opened("train", {}, root=folder / "scratch") as scratch:
        train("tiny", row, PREPARE, made, out=folder / "tiny", scratch=scratch, reports=folder / "reports",
              regions={"WT": (1, 2), "TC": (1,)}, inputs={}, terms=("CC0",), **given)  # type: ignore[arg-type]  # fmt: skip
    return folder / "tiny"
