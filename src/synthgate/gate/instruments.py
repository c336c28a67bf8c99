"""The gate's instruments, made by `calibrate`: the judge model, cross-fitted, and the measured development patients."""

import dataclasses
import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgate import workers
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import LineageError
from synthgate.features.convolution import Convolution
from synthgate.files import read_json, write_json
from synthgate.gate import copies, measured, plants
from synthgate.gate.likeness import Likeness
from synthgate.gate.measured import Change, Measured, Spaces, measure, stack
from synthgate.learning import crossfit, encoder
from synthgate.learning.crossfit import CrossFitted
from synthgate.learning.own_encoder import OwnSpace
from synthgate.learning.regions import Regions
from synthgate.params import Calibrate
from synthgate.progress import tracked
from synthgate.scratch import Scratch

CONTROLS = "controls"
DEVELOPMENT = ("train", "validation")


@dataclass(frozen=True)
class Instruments:
    """What a case is measured with, and the reference it is judged against."""

    spaces: Spaces
    judge: CrossFitted
    reference: Measured
    """The development patients, each measured by the fold that did not see them."""
    likeness: Likeness
    """Compares cases with the training patients."""
    rendered: Measured
    """The training patients' anatomies in random contrasts."""
    planted: Mapping[str, Measured]
    """What the gate must notice, by its kind and severity (`plants.TO_MEASURE`)."""


def make(store: Store, regions: Regions, params: Calibrate, scratch: Scratch, out: Path) -> Measured:
    """Train and measure; write the instruments to the new folder `out` (weights per fold, `folds.json`, the table)."""
    cases = store.select(*DEVELOPMENT)
    fold_of = crossfit.assign([case.patient for case in cases], params.folds, params.seed)
    folders = crossfit.cross_fit(store, cases, regions, params.segmenter, fold_of, params.seed, scratch)
    fitted = crossfit.load(folders, fold_of, len(store.channels), len(regions), params.segmenter)
    spaces = _spaces(len(store.channels), params)
    table = measure_all(store, cases, regions, spaces, fitted, scratch, "development")
    fold = np.array([fold_of[case.patient] for case in cases])

    def encoded(one: int) -> Path:
        return encoder.trained(
            scratch, f"encoder-{one}", table.thumbnail[fold != one], params.encoder, params.seed + one
        )

    every = range(params.folds)
    homes = list(tracked(workers.each(encoded, every), params.folds, "copy encoders", "folds"))
    likeness = _likeness(homes, table, fold_of, len(store.channels), params)
    table = likeness.among(table, fold)
    out.mkdir()
    for folder in [*folders, *homes]:
        shutil.copytree(folder, out / folder.name)
    write_json(out / "folds.json", fold_of)
    table.write(out / "measured.npz")
    train = table.rows(table.split == "train")
    drawn = copies.rendered(train.thumbnail, np.random.default_rng([params.seed, 4]))
    likeness(dataclasses.replace(train, thumbnail=drawn)).write(out / "rendered.npz")
    (out / CONTROLS).mkdir()
    for plant in plants.TO_MEASURE:
        chosen = store.select(plant.of)[: plant.most]
        # asking the judge takes most of the time: where it is not the one to notice, its answer is left as it was
        asked = fitted if plant.axis == "agreement" else None
        found = measure_all(store, chosen, regions, spaces, asked, scratch, plant.name, plant.change(params.seed))
        plain = table.rows(np.isin(table.case, found.case))
        if not asked:
            found = dataclasses.replace(found, dice=plain.dice)
        # so does the search for copies
        found = likeness(found) if plant.axis == "privacy" else plain.likened(found)
        found.write(out / CONTROLS / f"{plant.name}.npz")
    return table


def load(folder: Path, channels: int, regions: Regions, params: Calibrate) -> Instruments:
    """Open the instruments; raises ArtefactError."""
    fold_of = read_json(folder / "folds.json")
    folders = [folder / f"fold-{fold}" for fold in range(params.folds)]
    fitted = crossfit.load(folders, fold_of, channels, len(regions), params.segmenter)
    planted = {file.stem: measured.read(file) for file in sorted((folder / CONTROLS).glob("*.npz"))}
    table = measured.read(folder / "measured.npz")
    homes = [folder / f"encoder-{fold}" for fold in range(params.folds)]
    likeness = _likeness(homes, table, fold_of, channels, params)
    return Instruments(
        _spaces(channels, params), fitted, table, likeness, measured.read(folder / "rendered.npz"), planted
    )


def _spaces(channels: int, params: Calibrate) -> Spaces:
    x, y, *_ = params.segmenter.patch
    own = OwnSpace(params.own_encoder, channels, (x, y)) if params.own_encoder else None
    return Spaces(Convolution(channels, params.convolution_features, params.seed), own)


def _likeness(
    homes: Sequence[Path], table: Measured, fold_of: Mapping[str, int], channels: int, params: Calibrate
) -> Likeness:
    train = table.rows(table.split == "train")
    fold = np.array([fold_of[name] for name in train.group])
    return Likeness(train, fold, encoder.load(homes, channels, params.encoder))


def measure_all(
    store: Store,
    cases: Sequence[StoredCase],
    regions: Regions,
    spaces: Spaces,
    judge: CrossFitted | None,
    scratch: Scratch,
    what: str,
    change: Change | None = None,
) -> Measured:
    """Measure cases one by one, each a piece of scratch, so that a killed run continues."""

    def make(case: StoredCase, path: Path) -> None:
        predict = functools.partial(_by_judge, judge) if judge else None
        measure(store, case, regions, spaces, predict, change).write(path)

    home = scratch.within(f"measured-{what}")

    def measured_in(case: StoredCase) -> Path:
        return home.once(f"{case.case}.npz", functools.partial(make, case))

    pieces = tracked(workers.each(measured_in, cases), len(cases), f"measure {what}", "cases")
    return stack([measured.read(piece) for piece in pieces])


def _by_judge(judge: CrossFitted, image: Any, people: Sequence[str]) -> Any:
    """The judge's probabilities; somebody it does not know (a leak, told by its own finding) counts as spread."""
    try:
        return judge.predict(image, people)
    except LineageError:
        return judge.predict(image, ())
