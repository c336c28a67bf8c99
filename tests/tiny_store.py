"""Tiny heads with a bright blob, prepared into a store; what the tests of cohort, learning and study share."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthgate.cohort.case import Volume
from synthgate.cohort.store import Entry, Store, write
from synthgate.files import replacing
from synthgate.params import Prepare, Segmenter
from synthgate.scratch import Scratch

CHANNELS = ("t1", "flair")
SHAPE = (32, 32, 6)
REGIONS = {"WT": (1, 2), "TC": (1,)}
PREPARE = Prepare(size=(32, 32), percentiles=(1.0, 99.0), shard_cases=2)
PEOPLE = {"ann": "train", "bob": "train", "cay": "train", "dan": "train", "eve": "validation", "fay": "hold-out"}


def segmenter(dims: int = 2, **changed: object) -> Segmenter:
    """A network of three levels that learns the blob within a minute on one thread."""
    row = {
        "spatial_dims": dims, "features": (4, 8, 8), "steps": 6, "batch": 4, "learning_rate": 0.02, "foreground": 0.5,
        "patch": (32, 32) if dims == 2 else (16, 16, 4), "checkpoint_every": 2,
    }  # fmt: skip
    return Segmenter(**(row | changed))  # type: ignore[arg-type]


def volume(seed: int, *, lesion: bool = True, affine: np.ndarray | None = None) -> Volume:
    """An elliptic head of mild texture; a blob in slices 2 to 4, its rim (2) bright and its core (1) brighter."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(SHAPE)
    head = ((x - 15.5) / 12) ** 2 + ((y - 15.5) / 14) ** 2 <= 1
    away = np.hypot(x - 15.5 - rng.uniform(-4, 4), y - 15.5 - rng.uniform(-5, 5))
    between = lesion & (z >= 2) & (z <= 4)
    label = (np.where(away < 2, 1, 2) * ((away < 4.5) & between)).astype(np.uint8)
    images = {}
    for name, rim, core in (("t1", 70, 150), ("flair", 160, 190)):
        values = 100 + rng.normal(0, 4, SHAPE)
        values[label == 2], values[label == 1] = rim, core
        images[name] = (values * head).astype(np.float32)
    return Volume(images, label, np.diag([1.0, 1.0, 4.0, 1.0]) if affine is None else affine)


def entries(people: Mapping[str, str] = PEOPLE, *, donors: Sequence[str] = ()) -> list[Entry]:
    """One case per name → split; `donors` make them synthetic."""
    return [
        Entry(f"case-{name}", "" if split == "synthetic" else name, split, tuple(donors), {"site": "A"}, f"{name}.nii",
              lambda seed=seed: volume(seed))
        for seed, (name, split) in enumerate(people.items())
    ]  # fmt: skip


def make(folder: Path, listed: Sequence[Entry] | None = None) -> Store:
    """Write a store to `folder/store` and open it."""
    with Scratch.opened("prepare", {}, root=folder / "scratch") as scratch, replacing(folder / "store") as out:
        write(out, entries() if listed is None else listed, CHANNELS, PREPARE, scratch)
    return Store.open(folder / "store")
