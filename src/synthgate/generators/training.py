"""Training a generator: clusters over all its patients, each patient's anatomy and contrasts, and then its painter.

A private one may have all of that but the painter's weights from a public source instead.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from synthgate import cards, workers
from synthgate.cards import Card
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import CohortError
from synthgate.files import replacing, write_json
from synthgate.generators import clusters, public
from synthgate.generators.anatomy import FEWEST, FIRST_CLUSTER, Mapped, complete, covered, cut, depth, values_of
from synthgate.generators.generator import CONFIG, FORMAT, WEIGHTS
from synthgate.generators.learned import paintings
from synthgate.generators.patients import admit
from synthgate.learning import devices
from synthgate.params import ALONE, Compute, Diffusion, Generator, Learned, Prepare, as_plain
from synthgate.progress import tracked
from synthgate.scratch import Scratch

SAMPLES = 2000
"""Voxels of each case that the clusters are fitted on."""
RIM_SHARE = 0.05
"""Share of all lesion voxels that may lie nearer to the head's surface than the rim."""


def train(
    name: str,
    row: Generator,
    prepare: Prepare,
    store: Store,
    cases: Sequence[StoredCase],
    patients: Sequence[str],
    out: Path,
    scratch: Scratch,
    *,
    reports: Path,
    regions: dict[str, tuple[int, ...]],
    inputs: dict[str, str],
    terms: tuple[str, ...] = (),
    compute: Compute = ALONE,
) -> None:
    """Train the generator `name` on `cases`, all of training patients in `patients`; write it to the folder `out`.

    What is plotted of it goes to the folder `reports`: `curves` and `samples`, empty where nothing is learned.
    Each case's part is a piece of `scratch`, so a killed training continues. Raises LineageError for a case of another
    patient or split, CohortError where no patient has a lesion or a head is too plain to cluster, ParamsError where
    the devices cannot share a batch equally, and what `public.prepared` does. On a machine that only helps another one,
    nothing is written.
    """
    admit(cases, patients)
    if isinstance(row, Learned):
        devices.refuse_uneven(row.fitting.batch, compute)
    if not cases:
        raise CohortError(f"generator {name}: none of its {len(patients)} patients has a case in {store.folder}")
    source = row.privacy.public if isinstance(row, Diffusion) and row.privacy else None
    ours, home, people = store, scratch, cases
    if source:
        home = scratch.within("public")
        ours = public.prepared(source, prepare, store, regions, home)
        people = ours.cases
        inputs, terms = inputs | {source.folder: source.digest}, tuple(dict.fromkeys((*terms, *public.terms(source))))

    def look(number: int) -> np.ndarray:
        return _some(_features(ours, people[number], row, home), np.random.default_rng([row.seed, 0, number]))

    samples = list(tracked(workers.each(look, range(len(people))), len(people), f"look at {name}", "cases"))
    centres = clusters.fit(np.concatenate(samples, 1).T, row.clusters, np.random.default_rng([row.seed, 1]))
    known = _mapped(name, row, ours, people, centres, home)
    if not any(part["label"].any() for part in known.parts.values()):
        raise CohortError(
            f"generator {name}: none of its {len({case.patient for case in people})} patients has a lesion, so there "
            f"is none to place; choose other patients, or another public source, in its row of params.yaml"
        )
    weights, lesions, rim, covers = _anatomies(known)
    classes, table = _contrasts(list(known.parts.values()), row.clusters)
    config = {
        "format": FORMAT, "kind": row.kind, "params": as_plain(row), "channels": list(store.channels),
        "percentiles": list(prepare.percentiles), "regions": {key: list(value) for key, value in regions.items()},
        "classes": classes, "rim": rim, "covers": covers,
        "lesions": lesions,
        "heads": [
            {"key": case.case, "patient": case.patient, "spacing_mm": case.geometry.spacing_mm, "attributes": told}
            for case, told in zip(people, known.attributes, strict=True)
        ],
    }  # fmt: skip
    facts: dict[str, Any] = {"clusters": row.clusters, "heads": len(people), "lesions": len(lesions)}
    painted = None
    if isinstance(row, Learned):
        shown = _mapped(name, row, store, cases, centres, scratch) if source else known
        painted = paintings.train(row, known, shown, classes, scratch, name, compute)
        if painted is None:
            return
        table |= painted.tables
        facts |= painted.facts
    paintings.write_reports(painted, reports)
    with replacing(out) as beside:
        beside.mkdir()
        save_file(weights | table | {"clusters": centres}, beside / WEIGHTS)
        write_json(beside / CONFIG, config)
        if painted:
            for file, path in painted.weights.items():
                shutil.copyfile(path, beside / file)
        cards.write(
            beside,
            Card("train_generator", name, row.study, tuple(patients), as_plain(row), inputs, terms, facts),
        )


def _mapped(
    name: str, row: Generator, store: Store, cases: Sequence[StoredCase], centres: np.ndarray, scratch: Scratch
) -> Mapped:
    def part(case: StoredCase) -> Path:
        return scratch.once(f"parts/{case.case}.safetensors", _enricher(store, case, row, centres, scratch))

    made = tracked(workers.each(part, cases), len(cases), f"train {name}", "cases")
    return Mapped(store, cases, {case.case: load_file(path) for case, path in zip(cases, made, strict=True)})


def head_of(image: np.ndarray) -> np.ndarray:
    """[x, y, z] bool of a prepared image [channel, x, y, z]: not 0 in some channel, holes filled slice by slice."""
    planes = np.moveaxis(image.max(0) > 0, 2, 0)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in planes], axis=2)


def _read(store: Store, case: StoredCase) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A case's image, label, and head outside the lesion."""
    image, label = store.image(case), store.label(case)
    if label.max() >= FIRST_CLUSTER:
        raise CohortError(f"case {case.case}: label values must be below {FIRST_CLUSTER}, got {label.max()}")
    healthy = head_of(image) & (label == 0)
    if not healthy.any():
        raise CohortError(f"case {case.case}: no head outside its lesion; look at the case")
    return image, label, healthy


def _features(store: Store, case: StoredCase, row: Generator, scratch: Scratch) -> np.ndarray:
    """Standardised features [channel, voxel] of a case's head outside the lesion, a piece of scratch."""

    def make(path: Path) -> None:
        image, _, healthy = _read(store, case)
        spacing = case.geometry.spacing_mm
        through = spacing[0] / spacing[2] if spacing else 0.0
        found = clusters.standardised(image, healthy, row.smoothing, through)[:, healthy]
        np.save(path, found.astype(np.float16))

    loaded: np.ndarray = np.load(scratch.once(f"features/{case.case}.npy", make))
    return loaded.astype(np.float32)


def _some(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`SAMPLES` of the voxels [channel, voxel]."""
    return features[:, rng.choice(features.shape[1], min(SAMPLES, features.shape[1]), replace=False)]


def _enricher(
    store: Store, case: StoredCase, row: Generator, centres: np.ndarray, scratch: Scratch
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        image, label, healthy = _read(store, case)
        head = healthy | (label > 0)
        codes = np.where(head, FIRST_CLUSTER, 0).astype(np.uint8)
        codes[healthy] = FIRST_CLUSTER + clusters.assign(_features(store, case, row, scratch), centres)
        # a lesion's border is mixed with what lies beside it, so the gap is a little wider than the lesion
        gap = ndimage.binary_dilation(label > 0, np.ones((3, 3, 1)))
        save_file({"head": complete(codes, gap), "label": label, **_measured(image, label, codes, row.clusters)}, path)

    return make


def _measured(image: np.ndarray, label: np.ndarray, codes: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Mean and sd [class, channel] and voxels [class] of every map value that may occur, 0 where it does not."""
    values = values_of(count)
    whole = np.where(label > 0, label, codes)
    mean, sd = np.zeros((2, len(values), len(image)), np.float32)
    voxels = np.zeros(len(values), np.float32)
    for row, value in enumerate(values):
        part = image[:, whole == value]
        voxels[row] = part.shape[1]
        if part.shape[1] >= FEWEST:
            mean[row], sd[row] = part.mean(1), part.std(1)
    return {"mean": mean, "sd": sd, "voxels": voxels}


def _contrasts(parts: Sequence[Mapping[str, np.ndarray]], count: int) -> tuple[list[int], dict[str, np.ndarray]]:
    """The classes that occur, and their statistics over cases, as `contrast.Statistics` wants them."""
    mean, sd, voxels = (np.stack([part[key] for part in parts]) for key in ("mean", "sd", "voxels"))
    weight = (voxels >= FEWEST)[..., None].astype(np.float32)
    times = weight.sum(0)
    total = np.maximum(times, 1)
    middle = (mean * weight).sum(0) / total
    between = np.sqrt(((mean - middle) ** 2 * weight).sum(0) / total)
    values = np.array(values_of(count))
    present = voxels.sum(0) > 0
    # a class too small to be measured anywhere looks like anything
    middle[times[:, 0] == 0], between[times[:, 0] == 0] = 0.5, 0.3
    table = {"mean": middle, "sd": between, "texture": (sd * weight).sum(0) / total,
             "share": (voxels / voxels.sum(1, keepdims=True)).mean(0)}  # fmt: skip
    return values[present].tolist(), {
        f"contrast.{key}": np.ascontiguousarray(value[present], dtype=np.float32) for key, value in table.items()
    }


def _anatomies(
    known: Mapped,
) -> tuple[dict[str, np.ndarray], list[dict[str, object]], float, dict[str, float]]:
    """Tensors of heads and lesions, the lesions' places, how deep under the surface lesions begin, and what they cover.

    The last is, by cluster, the largest share of a lesion that lies on what the head would hold there.
    """
    weights: dict[str, np.ndarray] = {}
    places: list[dict[str, object]] = []
    depths: list[np.ndarray] = []
    covers: dict[str, float] = {}
    for case in known.cases:
        head, label = known.parts[case.case]["head"], known.parts[case.case]["label"]
        weights[f"head.{case.case}"] = head
        if lesion := cut(label, head > 0, case.case, case.patient):
            weights[f"lesion.{case.case}"] = lesion.label
            places.append({key: value for key, value in asdict(lesion).items() if key != "label"})
            depths.append(depth(head > 0)[label > 0])
            for value, share in covered(head, label).items():
                covers[str(value)] = max(covers.get(str(value), 0.0), share)
    return weights, places, float(np.quantile(np.concatenate(depths), RIM_SHARE)), covers
