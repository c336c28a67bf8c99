"""Everything that can be wrong in a source, found in one pass and told in one list; one case in memory at a time."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from scipy.stats import rankdata

from synthgate.cohort import headers
from synthgate.cohort.case import Case, Problem, Source, Volume
from synthgate.cohort.nifti import BrokenCase
from synthgate.cohort.prepare import find_head
from synthgate.cohort.readers import read
from synthgate.errors import CohortError
from synthgate.progress import tracked

COPY = 0.999
"""Rank correlation over the head above which one channel is a copy of another; real pairs stay below 0.95."""
SAMPLE = 20_000
"""Voxels of the head that channels are compared on."""


@dataclass
class Examined:
    """What one pass over a source found."""

    problems: list[Problem] = field(default_factory=list)
    flags: dict[str, list[str]] = field(default_factory=dict)
    """Case → its flags, e.g. `channel_copy:t1ce`."""
    bearing: set[str] = field(default_factory=set)
    """Cases with a lesion."""
    values: set[int] = field(default_factory=set)
    """Label values that occur, background excluded."""
    boxes: list[tuple[int, int]] = field(default_factory=list)
    """In-plane size (x, y) of each head on RAS axes, in voxels."""


def check(source: Source) -> list[Problem]:
    """All problems of a source: those its reader saw, those of each case, and those between cases; faults first."""
    return examine(source).problems


def faults(folder: Path, layout: str, labels: Sequence[int], channels: Sequence[str]) -> list[str]:
    """All faults of a source whose labels may be those given and that must have these channels, as sentences."""
    source = dataclasses.replace(read(folder, layout), labels=tuple(labels), channels=tuple(channels))
    return [str(problem) for problem in check(source) if problem.grade == "fault"]


def examine(source: Source) -> Examined:
    """Read every case once; see `check`."""
    found = Examined(problems=list(source.problems))
    seen: dict[str, tuple[str, str]] = {}
    patients: dict[str, str] = {}
    ids: set[str] = set()
    for case in tracked(source.cases, len(source.cases), "checking", "cases"):
        if case.case_id in ids:
            what = f"case id {case.case_id} occurs twice"
            found.problems.append(Problem("fault", case.where, what, "give each imaging study an id of its own"))
        ids.add(case.case_id)
        patients[case.case_id] = case.patient_id
        try:
            volume = case.load()
        except BrokenCase as error:
            found.problems += error.problems
            continue
        except CohortError as error:
            found.problems.append(Problem("fault", case.where, str(error), "repair the case, or take it out"))
            continue
        problems = of_volume(case.where, volume, source)
        found.problems += problems
        if not any(p.grade == "fault" for p in problems):
            found.problems += _of_head(case, volume, found)
        found.problems += _twins(case, volume, seen, patients)
    found.problems += _identifying(source.cases)
    found.problems += _repeated(patients)
    found.problems.sort(key=lambda p: ("fault", "flag", "note").index(p.grade))
    return found


def of_volume(where: str, volume: Volume, source: Source) -> list[Problem]:
    """Faults of one case's pixels: missing channels, shapes, values, labels; and flags for constant channels."""
    problems = []
    shapes = {name: image.shape for name, image in volume.images.items()}
    for name in source.channels:
        image = volume.images.get(name)
        if image is None:
            what = f"channel {name} is missing; expected {', '.join(source.channels)}"
            problems.append(Problem("fault", where, what, "add its file, or take the case out"))
        elif not np.isfinite(image).all():
            what = f"channel {name} has {int((~np.isfinite(image)).sum())} voxels that are NaN or infinite"
            problems.append(Problem("fault", where, what, "repair the image, or take the case out"))
        elif image.min() == image.max():
            what = f"channel {name} is {image.flat[0]:g} everywhere"
            problems.append(Problem("flag", where, what, "add the real channel, or leave the case out"))
    if volume.label is None:
        problems.append(Problem("fault", where, "the label is missing", "add its file, or take the case out"))
    else:
        shapes["label"] = volume.label.shape
        if odd := sorted({int(v) for v in np.unique(volume.label)} - {0, *source.labels}):
            what = f"expected labels {list(source.labels)} and 0, got also {odd}"
            remedy = "map them to the set, or (cohort folder) declare the set as `labels` in source.json"
            problems.append(Problem("fault", where, what, remedy))
        elif not volume.label.any():
            what = "the label is empty: a patient without a lesion"
            problems.append(Problem("note", where, what, "none needed, if that is so"))
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        problems.append(Problem("fault", where, f"mixed shapes: {told}", "bring all files of a case onto one grid"))
    return problems


def copies(images: Sequence[np.ndarray], head: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (copy, original) among images [x, y, z], by rank correlation over the head (any monotone change counts).

    The first image of a pair is the original, and a copy is named once. Constant images are neither.
    """
    places = np.flatnonzero(head)
    places = places[:: max(1, len(places) // SAMPLE)]
    ranks = [rankdata(image.ravel()[places]) for image in images]
    result: list[tuple[int, int]] = []
    originals: list[int] = []
    for index, rank in enumerate(ranks):
        if len(rank) < 3 or rank.std() == 0:
            continue
        twin = next((o for o in originals if np.corrcoef(rank, ranks[o])[0, 1] > COPY), None)
        if twin is None:
            originals.append(index)
        else:
            result.append((index, twin))
    return result


def _of_head(case: Case, volume: Volume, found: Examined) -> list[Problem]:
    """What needs the head: its box, slices without it, channels that copy one another."""
    orientation = nibabel.orientations.io_orientation(volume.affine)
    # FLAIR first: sources replace missing channels by it
    names = sorted(volume.images, key=lambda name: (name != "flair", name))
    images = [nibabel.orientations.apply_orientation(volume.images[name], orientation) for name in names]
    if volume.label is not None and volume.label.any():
        found.bearing.add(case.case_id)
        found.values |= {int(v) for v in np.unique(volume.label)} - {0}
    try:
        head = find_head(np.stack(images))
    except CohortError as error:
        return [Problem("fault", case.where, str(error).partition(";")[0], "check its images, or take the case out")]
    sides = [np.flatnonzero(head.any(axis=(1 - axis, 2))) for axis in (0, 1)]
    found.boxes.append((int(np.ptp(sides[0])) + 1, int(np.ptp(sides[1])) + 1))
    problems = []
    for copy, original in copies(images, head):
        found.flags.setdefault(case.case_id, []).append(f"channel_copy:{names[copy]}")
        what = f"channel {names[copy]} is a copy of {names[original]} (channel_copy)"
        problems.append(Problem("flag", case.where, what, "add the real channel; until then the case is marked"))
    for name, image in zip(names, images, strict=True):
        if image.min() == image.max():
            found.flags.setdefault(case.case_id, []).append(f"channel_constant:{name}")
    if empty := int((~head.any(axis=(0, 1))).sum()):
        what = f"{empty} of {head.shape[2]} slices hold no brain"
        problems.append(Problem("note", case.where, what, "none needed"))
    return problems


def _twins(case: Case, volume: Volume, seen: dict[str, tuple[str, str]], patients: dict[str, str]) -> list[Problem]:
    """The same pixels under two names, whatever their headers: a fault between patients, a flag within one."""
    parts = dict(volume.images) | ({"label": volume.label} if volume.label is not None else {})
    orientation = nibabel.orientations.io_orientation(volume.affine)
    twins: dict[str, list[str]] = defaultdict(list)
    for name, values in parts.items():
        if values.min() == values.max():
            continue
        content = np.ascontiguousarray(nibabel.orientations.apply_orientation(values, orientation))
        key = hashlib.sha256(f"{name == 'label'}{content.shape}".encode() + content.tobytes()).hexdigest()
        other, channel = seen.setdefault(key, (case.case_id, name))
        if other != case.case_id:
            twins[other].append(name if name == channel else f"{name} (there {channel})")
    problems = []
    for other, names in twins.items():
        faulty = names != ["label"] and patients[other] != case.patient_id
        what = f"the same image under two names: {', '.join(names)} of {case.case_id} equal those of {other}"
        problems.append(Problem("fault" if faulty else "flag", case.where, what, "take one of the two cases out"))
    return problems


def _repeated(patients: dict[str, str]) -> list[Problem]:
    cases = defaultdict(list)
    for case_id, patient in patients.items():
        cases[patient].append(case_id)
    return [
        Problem(
            "note", patient, f"the patient has {len(ids)} cases: {', '.join(ids)}", "none needed: one split holds them"
        )
        for patient, ids in cases.items()
        if len(ids) > 1
    ]


def _identifying(cases: list[Case]) -> list[Problem]:
    """Flags for texts in headers, names and columns that may identify; the texts themselves are not repeated."""
    hits: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        where = Path(case.where)
        files = sorted(p for p in where.iterdir() if p.is_file()) if where.is_dir() else []
        for path in files:
            for text in headers.in_file(path):
                hits[f"a text in header field {text}, in {{}}"].append(str(path))
        for kind in sorted({k for p in (where, *files) if (k := headers.in_name(p.name))}):
            hits[f"what looks like {kind} in {{}}"].append(str(where))
    for column in headers.in_columns(list({key: None for case in cases for key in case.attributes})):
        hits[f"a column that identifies, {column}, in the table of {{}}"].append(str(Path(cases[0].where).parent))
    remedy = "adopt drops it: headers are written anew, files are named by channel; ids stay inside data/"
    return [
        Problem("flag", places[0], what.format(f"{len(places)} places, the first named here"), remedy)
        for what, places in hits.items()
    ]
