"""Batches whose right verdict is known, drawn from measured tables: good ones, and each defect at each severity.

Pixel defects are `plants.TO_MEASURE` and graded ones beyond; the others are made of measured rows.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bench.trials import drawn
from synthgate.gate import controls, judge, plants, privacy
from synthgate.gate.measured import Measured, stack
from synthgate.gate.plants import COPIES, ImagePlant, Plan, Plant
from synthgate.gate.verdict import THINNED

HARDER = (
    *(ImagePlant("rotated_copies", "privacy", d, False, of="train", most=COPIES) for d in (10, 15)),
    ImagePlant("wrong_labels", "agreement", 0.15, False),
)
"""What is harder to find than what the gate declares; always measured."""
STRONGER: Mapping[str, tuple[float, ...]] = {
    "noise": (8, 16), "blur": (0.8, 1.2), "gamma": (0.65, 0.5), "dilated_labels": (3, 4), "wrong_labels": (0.45,),
}  # fmt: skip
"""Severities beyond the declared ones, measured where a kind does not reach `ENOUGH`; other kinds have none."""
WEAKER_UPWARDS = ("gamma", "rotated_copies", "shifted_copies")
"""Kinds that are the harder to notice the larger their severity."""
ENOUGH = 0.95
"""Share of batches to be noticed."""
AMONG = (0.1, 0.25, 0.5)
AMONG_WITH = "noise-4"
SMALL_GONE = (0.5, 0.7)

STATED = (
    ("blur", 0.5), ("noise", 4), ("gamma", 0.8), ("wrong_labels", 0.3), ("dilated_labels", 2), ("upside_down", 1),
    ("collapsed", 3), ("one_site", 1), ("all_of_one_site", 1), ("swapped_channels", 1),
)  # fmt: skip
"""The global defects that the gate is to notice in at least `ENOUGH` of the batches, at their severities."""


@dataclass(frozen=True)
class Pool:
    """What batches are drawn from."""

    size: int
    """Cases of a batch."""
    fresh: Measured
    """Patients the study does not know, as themselves."""
    reference: Measured
    """The study's development patients."""
    spoiled: Callable[[str], Measured]
    """A plant's name → what it made of patients: fresh ones, or training patients for copies."""

    @property
    def train(self) -> Measured:
        return self.reference.rows(self.reference.split == "train")

    def good(self, rng: np.random.Generator) -> Measured:
        """A batch with nothing wrong."""
        return controls.posing(drawn(self.fresh, self.size, rng))


Draw = Callable[[Pool, np.random.Generator], Measured | None]


@dataclass(frozen=True)
class Line:
    """A kind of batch, and how one is drawn; None where the patients at hand allow none."""

    plant: Plant
    draw: Draw
    redrawn: bool = False
    """Whether the reference is drawn anew too, from fresh patients; copies cannot be sought among those."""

    @property
    def axes(self) -> tuple[ModuleType, ...]:
        """Those that can judge."""
        return tuple(axis for axis in judge.AXES if not (self.redrawn and axis is privacy))


def catalogue(measured: Sequence[ImagePlant], size: int) -> dict[str, Line]:
    """Every defect, by the name of its plant."""
    lines = [Line(plant, of_pixels(plant)) for plant in measured]
    lines += [Line(plant, of_rows(plan)) for plant, plan in plants.ROW_PLANTS if plant.kind not in ALL_GRADED]
    few = max(1, int(THINNED * size))
    for count in range(1, COPIES + 1):
        expects = "limited" if count <= few else "rejected"
        lines.append(Line(Plant("exact_copies", "privacy", count, count == COPIES, expects), of_copies(count)))
    lines += [Line(Plant("noise_4_among_good", "drift", part, False), contaminated(part)) for part in AMONG]
    lines += [Line(Plant("large_lesions_only", "drift", part, False), large_only(part)) for part in SMALL_GONE]
    lines += [
        Line(Plant(f"all_of_one_{name}", "fairness", 1, False, "limited"), all_of_one(name)) for name in ("site", "sex")
    ]
    return {line.plant.name: line for line in lines}


ALL_GRADED = ("exact_copies", "one_copy")
"""Kinds of `plants.ROW_PLANTS` that the graded number of copies covers."""


def stronger(kinds: Sequence[str]) -> list[ImagePlant]:
    """The plants beyond the declared severities of these kinds."""
    axes = {plant.kind: plant.axis for plant in plants.TO_MEASURE}
    return [ImagePlant(kind, axes[kind], value, False) for kind in kinds for value in STRONGER.get(kind, ())]


ALL_MEASURED = (*plants.TO_MEASURE, *HARDER, *stronger(tuple(STRONGER)))
"""Every defect of pixels that may be asked for."""


def by_strength(plant: Plant) -> float:
    """Grows with how noticeable the severity is."""
    return -plant.severity if plant.kind in WEAKER_UPWARDS else plant.severity


# --- how batches are drawn


def good(pool: Pool, rng: np.random.Generator) -> Measured:
    """Unseen patients."""
    return pool.good(rng)


def of_pixels(plant: ImagePlant) -> Draw:
    """Spoiled patients, or copies of training patients among good cases."""

    def draw(pool: Pool, rng: np.random.Generator) -> Measured:
        found = pool.spoiled(plant.name)
        if plant.of != "train":
            return controls.posing(drawn(found, pool.size, rng))
        # a patient was copied several times, each differently: none is in a batch twice
        mixed = drawn(found, len(found), rng)
        _, first = np.unique(mixed.group, return_index=True)
        return plants.some_are(mixed.rows(np.sort(first)[:COPIES]), pool.good(rng))

    return draw


def of_rows(plan: Plan) -> Draw:
    """What a plan makes of a good batch."""

    def draw(pool: Pool, rng: np.random.Generator) -> Measured | None:
        return plan(drawn(pool.train, len(pool.train), rng), pool.good(rng))

    return draw


def of_copies(count: int) -> Draw:
    """So many training patients as they are among good cases."""

    def draw(pool: Pool, rng: np.random.Generator) -> Measured:
        return plants.some_are(drawn(pool.train, count, rng), pool.good(rng))

    return draw


def contaminated(part: float) -> Draw:
    """A part of the batch is noisy, the rest are other patients as they are."""

    def draw(pool: Pool, rng: np.random.Generator) -> Measured:
        noisy = drawn(pool.spoiled(AMONG_WITH), max(1, round(part * pool.size)), rng)
        others = pool.fresh.rows(~np.isin(pool.fresh.group, noisy.group))
        return controls.posing(stack([noisy, drawn(others, pool.size - len(noisy), rng)]))

    return draw


def large_only(gone: float) -> Draw:
    """A whole batch of patients with large lesions; the part `gone` of all patients has smaller ones or none."""

    def draw(pool: Pool, rng: np.random.Generator) -> Measured:
        volume = pool.fresh.descriptors[:, [str(name).endswith("_share") for name in pool.fresh.names]][:, 0]
        volume = np.nan_to_num(volume)
        return dataclasses.replace(pool, fresh=pool.fresh.rows(volume > np.quantile(volume, gone))).good(rng)

    return draw


def all_of_one(name: str) -> Draw:
    """A whole batch of patients of one group, drawn at random from the groups that have as many."""

    def draw(pool: Pool, rng: np.random.Generator) -> Measured | None:
        theirs = np.array([json.loads(text).get(name, "") for text in pool.fresh.attributes])
        names, counts = np.unique(theirs[theirs != ""], return_counts=True)
        enough = names[counts >= pool.size]
        if len(names) < 2 or not len(enough):
            return None
        return dataclasses.replace(pool, fresh=pool.fresh.rows(theirs == rng.choice(enough))).good(rng)

    return draw


def fresh_reference(pool: Pool, inside: np.ndarray, rng: np.random.Generator) -> tuple[Measured, Measured]:
    """A good batch of the patients `inside`, and a reference of others, with as many in each split as the study's.

    The others are all patients who are not in the batch: a part of them alone may be too few for a reference.
    """
    splits = pool.reference.split
    chosen = drawn(pool.fresh.rows(inside), pool.size, rng)
    others = drawn(pool.fresh.rows(~np.isin(pool.fresh.group, chosen.group)), len(splits), rng)
    return controls.posing(chosen), dataclasses.replace(others, split=rng.permutation(splits)[: len(others)])
