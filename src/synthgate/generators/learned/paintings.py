"""From a generator's training cases to its learned painter: the tables it needs, its network, and facts about it."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import CohortError
from synthgate.files import replacing
from synthgate.generators.anatomy import ATTRIBUTES, FEWEST, values_of
from synthgate.generators.learned import noise, teaching
from synthgate.generators.learned.conditions import Conditions, Styles
from synthgate.generators.learned.slices import Slices
from synthgate.learning import loop
from synthgate.params import Compute, Learned
from synthgate.scratch import Scratch

MEASURED = 400
"""Slices that the spread of the residuals is measured on."""


@dataclass(frozen=True)
class Painted:
    """A trained painter."""

    tables: dict[str, np.ndarray]
    weights: Path
    """Folder of the network's weights, in scratch."""
    facts: dict[str, Any]
    curve: loop.Curve
    history: Sequence[teaching.Judged]
    samples: Path
    """Folder of sample grids, in scratch."""


def train(
    row: Learned,
    store: Store,
    cases: Sequence[StoredCase],
    parts: Mapping[str, Mapping[str, np.ndarray]],
    classes: Sequence[int],
    scratch: Scratch,
    name: str,
    compute: Compute,
) -> Painted | None:
    """Train the painter of `row`; `parts` holds head, label and measured means of each case, `classes` all map values.

    None on a machine that only helps another one (`devices.node`).
    Raises CohortError where there are fewer than two patients: one is needed that the weights do not learn from.
    """
    known = np.isin(values_of(row.clusters), classes)
    ours = [parts[case.case] for case in cases]
    means = np.stack([np.where(part["voxels"][:, None] >= FEWEST, part["mean"], np.nan)[known] for part in ours])
    people = tuple({key: case.attributes[key] for key in ATTRIBUTES if key in case.attributes} for case in cases)
    styles = Styles(tuple(classes), means, people)
    conditions = Conditions.of(classes, row.attributes, people)
    inner = set_apart(row, cases)

    def slices(within: bool) -> Slices:
        chosen = [number for number, case in enumerate(cases) if (case.patient in inner) == within]
        maps = [np.where(ours[n]["label"] > 0, ours[n]["label"], ours[n]["head"]) for n in chosen]
        tables = [styles.table(means[number]) for number in chosen]
        return Slices(store, [cases[number] for number in chosen], maps, tables, conditions, row.seed)

    learned, unseen = slices(False), slices(True)
    spread, alike = _measured(learned)
    taught = teaching.teach(learned, unseen, row, spread, scratch.within("painter"), f"train {name}", compute)
    if taught is None:
        return None
    facts = {
        "slices": len(learned.index()), "inner_patients": len(inner), "memorised": taught.memorised,
        "stopped_at": taught.history[-1].step, "checkpoint": taught.best.row(),
    }  # fmt: skip
    tables = {"style.means": means.astype(np.float32), "spread": np.array([spread]), "alike": np.asarray(alike)}
    return Painted(tables, taught.weights, facts, taught.curve, taught.history, taught.samples)


def set_apart(row: Learned, cases: Sequence[StoredCase]) -> set[str]:
    """The training patients that choose the checkpoint."""
    patients = list(dict.fromkeys(case.patient for case in cases))
    if len(patients) < 2:
        raise CohortError(
            f"a learned generator needs at least 2 training patients, one to judge by; got {len(patients)}"
        )
    count = min(max(1, round(row.fitting.inner * len(patients))), len(patients) - 1)
    return set(np.random.default_rng([row.seed, 2]).permutation(patients)[:count])


def _measured(slices: Slices) -> tuple[float, np.ndarray]:
    """Spread of the residuals within heads, and how alike neighbouring slices are, band by band."""
    index = slices.index()
    residual, condition, _ = slices.take(index[np.linspace(0, len(index) - 1, MEASURED).round().astype(int)])
    spread = float(residual.transpose(0, 2, 3, 1)[condition[:, -1] > 0].std())
    alike = []
    for number in range(len(slices.cases)):
        planes = index[index[:, 0] == number]
        inner = planes[len(planes) // 4 : -(len(planes) // 4) or None]
        if len(inner) > 1:
            alike.append(noise.likeness(slices.take(inner)[0]))
    return max(spread, 1e-3), np.mean(alike, axis=0) if alike else np.zeros(len(noise.BANDS) - 1)


def write_reports(painted: Painted | None, folder: Path) -> None:
    """Write `curves/loss.csv`, `curves/checkpoints.csv` and `samples/`; without rows where nothing was learned."""
    with replacing(folder / "curves") as beside:
        beside.mkdir()
        loop.write_curve(beside / "loss.csv", painted.curve if painted else [])
        teaching.write_history(beside / "checkpoints.csv", painted.history if painted else [])
    with replacing(folder / "samples") as beside:
        beside.mkdir()
        if painted:
            shutil.copytree(painted.samples, beside, dirs_exist_ok=True)
