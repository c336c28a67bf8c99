"""From a generator's training cases to its learned painter: the tables it needs, its network, and facts about it."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgate import workers
from synthgate.cohort.store import StoredCase
from synthgate.errors import CohortError
from synthgate.files import replacing
from synthgate.generators.anatomy import FIRST_CLUSTER, Mapped
from synthgate.generators.learned import coding, latent, noise, teaching
from synthgate.generators.learned.conditions import FITTED, Conditions, Styles, fade_of, style_of
from synthgate.generators.learned.exams import Exam, Middles, Sliced
from synthgate.generators.learned.inpainting import Gaps, write_originals
from synthgate.generators.learned.privately import teach_privately
from synthgate.generators.learned.slices import Batches, Slices
from synthgate.learning import loop, weights
from synthgate.params import Compute, Diffusion, Learned
from synthgate.scratch import Scratch

USUAL_ALIKE = (0.8, 0.5, 0.3, 0.2, 0.1, 0.0)
"""Stands in for what is measured in private training; about that of the phantom's first patients."""


FADED = 12
"""Cases that the width of lesions' borders is measured in."""


@dataclass(frozen=True)
class Painted:
    """A trained painter."""

    tables: dict[str, np.ndarray]
    weights: Mapping[str, Path]
    """File name → the file with a network's weights or a real head's image, in scratch."""
    facts: dict[str, Any]
    curves: Mapping[str, loop.Curve]
    """Loss of each network; `loss` is the painter's."""
    history: Sequence[teaching.Judged]
    samples: Path
    """Folder of sample grids, in scratch."""


def train(
    row: Learned,
    known: Mapped,
    shown: Mapped,
    classes: Sequence[int],
    scratch: Scratch,
    name: str,
    compute: Compute,
) -> Painted | None:
    """Train the painter of `row` on the cases `shown`; `classes` are all map values.

    All that is kept beside the weights is of the cases `known`: the same, or in private training those of a public
    source. What a patient's slices are told depends on that patient and on these alone.
    None on a machine that only helps another one (`devices.node`).
    Raises CohortError where there are fewer than two patients: one is needed that the weights do not learn from.
    """
    store, cases, maps = shown.store, shown.cases, shown.maps
    fade = _fade(known, classes)
    own = _styles(known, classes, fade)
    styles = Styles(tuple(classes), _lent(own, known, classes), known.attributes)
    theirs = own if shown is known else _styles(shown, classes, fade)
    inpaints = row.paints == "lesion"
    conditions = Conditions.of(classes, row.attributes, known.attributes, inpaints, fade)
    private = row.privacy if isinstance(row, Diffusion) else None
    inner = set() if private else set_apart(row, cases)

    def slices(within: bool) -> Slices:
        chosen = [number for number, case in enumerate(cases) if (case.patient in inner) == within]
        tables = [styles.table(theirs[number]) for number in chosen]
        told = [maps[number] for number in chosen]
        return Slices(store, [cases[number] for number in chosen], told, tables, conditions, row.seed)

    learned, unseen = slices(False), slices(True)
    tables = {
        "style": styles.known,
        "fade": np.array(fade),
        "alike": np.array(USUAL_ALIKE) if private else _alike(learned),
    }
    facts: dict[str, Any] = {"inner_patients": len(inner)} | ({} if private else {"slices": len(learned.index())})
    images: dict[str, Path] = {}
    if inpaints:
        gaps = Gaps.of(learned.maps)
        learned, unseen = (dataclasses.replace(part, gaps=gaps) for part in (learned, unseen))
        images, facts["paints"] = write_originals(store, cases, scratch), row.paints
    home, what, judged, coded = scratch.within("painter"), f"train {name}", row.fitting.judged, None
    if private and isinstance(row, Diffusion):
        taught: teaching.Taught | None = teach_privately(learned, row, private, home, what, compute)
    else:
        exams: tuple[Exam, Exam]
        if isinstance(row, Diffusion) and row.latent is not None:
            coded = coding.code(learned, unseen, row, home, what, compute)
            batches = Batches(coded.learned, row.fitting.batch)
            seen = Middles.of(coded.learned.volumes, judged, coded.space)
            exams = seen, Middles.of(coded.unseen, judged, coded.space)
            tables |= coded.space.tables()
            facts["autoencoder_error"] = coded.lost
        else:
            batches = Batches(learned, row.fitting.batch)
            exams = Sliced.of(learned, judged), Sliced.of(unseen, judged)
        taught = teaching.teach(batches, exams, len(store.channels), conditions, row, home, what, compute)
    if taught is None:
        return None
    files, curves = images | {weights.NAME: taught.weights / weights.NAME}, {"loss": taught.curve}
    if coded is not None:
        files[latent.NAME], curves["autoencoder"] = coded.weights, coded.curve
    return Painted(tables, files, facts | taught.facts, curves, taught.history, taught.samples)


def _fade(mapped: Mapped, classes: Sequence[int]) -> float:
    """That of the lesions in `FADED` of the cases, spread evenly over those that have one."""
    have = [number for number, case in enumerate(mapped.cases) if mapped.parts[case.case]["label"].any()]
    maps, places = mapped.maps, np.linspace(0, len(have) - 1, min(FADED, len(have)))
    some = [have[place] for place in places.round().astype(int)]
    return fade_of([(mapped.store.image(mapped.cases[number]), maps[number]) for number in some], classes)


def _styles(mapped: Mapped, classes: Sequence[int], fade: float) -> np.ndarray:
    """[case, class, 2 channel]: the style of each case."""
    maps = mapped.maps

    def style(number: int) -> np.ndarray:
        return style_of(mapped.store.image(mapped.cases[number]), maps[number], classes, fade)

    return np.stack(list(workers.each(style, range(len(mapped.cases)))))


def _lent(styles: np.ndarray, mapped: Mapped, classes: Sequence[int]) -> np.ndarray:
    """Without those of a label of too few voxels to tell how bright a larger one is, unless no case has more."""
    few = np.array([[(codes == v).sum() < FITTED and v < FIRST_CLUSTER for v in classes] for codes in mapped.maps])
    few[:, few.all(axis=0)] = False
    return np.where(few[..., None], np.nan, styles)


def set_apart(row: Learned, cases: Sequence[StoredCase]) -> set[str]:
    """The training patients that choose the checkpoint."""
    patients = list(dict.fromkeys(case.patient for case in cases))
    if len(patients) < 2:
        raise CohortError(
            f"a learned generator needs at least 2 training patients, one to judge by; got {len(patients)}"
        )
    count = min(max(1, round(row.fitting.inner * len(patients))), len(patients) - 1)
    return set(np.random.default_rng([row.seed, 2]).permutation(patients)[:count])


def _alike(slices: Slices) -> np.ndarray:
    """[band] how alike neighbouring slices are, in the middle half of each case's; the mean of all cases."""
    index = slices.index()

    def one(number: int) -> np.ndarray:
        rows = index[index[:, 0] == number]
        residual, _, _ = slices.take(rows[len(rows) // 4 : -(len(rows) // 4) or None])
        return noise.likeness(residual)

    return np.mean(list(workers.each(one, range(len(slices.cases)))), axis=0)


def write_reports(painted: Painted | None, folder: Path) -> None:
    """Write `curves/` (losses, and `checkpoints.csv`) and `samples/`; without rows where nothing is learned."""
    with replacing(folder / "curves") as beside:
        beside.mkdir()
        for name, curve in (painted.curves if painted else {"loss": []}).items():
            loop.write_curve(beside / f"{name}.csv", curve)
        teaching.write_history(beside / "checkpoints.csv", painted.history if painted else [])
    with replacing(folder / "samples") as beside:
        beside.mkdir()
        if painted:
            shutil.copytree(painted.samples, beside, dirs_exist_ok=True)
