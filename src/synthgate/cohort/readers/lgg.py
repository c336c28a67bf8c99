"""Reader of the "LGG MRI Segmentation" folders (Buda et al. 2019, doi:10.1016/j.compbiomed.2019.05.002).

One folder per patient, `TCGA_<site>_<patient>_<date>`, with axial slices `…_<n>.tif` of three channels (t1, flair,
t1ce) and `…_<n>_mask.tif`; `data.csv` beside the folders holds the patients' attributes.
"""

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from synthgate.cohort.case import Case, Problem, Source, Volume
from synthgate.cohort.nifti import BrokenCase
from synthgate.cohort.readers import tables

CHANNELS = ("t1", "t1ce", "flair")
STORED = ("t1", "flair", "t1ce")
"""Order of the channels in a slice."""
LABELS = (1,)
TERMS = (
    "LGG MRI Segmentation (Buda et al. 2019, doi:10.1016/j.compbiomed.2019.05.002; images: TCIA TCGA-LGG): "
    "CC BY-NC-SA 4.0, attribution required, no commercial use, share alike",
)
FOLDER = re.compile(r"(TCGA_([A-Z0-9]{2})_[A-Z0-9]{4})(_\d+)?", re.IGNORECASE)
SLICE = re.compile(r"(.+)_(\d+)(_mask)?\.tiff?", re.IGNORECASE)
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Voxel [column, row, slice] to RAS directions: columns run to the patient's left (radiological; the table's laterality
agrees), rows to the back, slices upwards. The spacing is not given."""
CODES = {
    # TCGA's words were numbered by the alphabet; race 1 may be either of two words and stays as coded
    "sex": ("gender", {"1": "F", "2": "M"}),
    "race": ("race", {"1": "coded 1", "2": "black", "3": "white"}),
    "grade": ("neoplasm_histologic_grade", {"1": "2", "2": "3"}),
}


def read(source: Path) -> Source:
    """List the patients of the dataset's folder; the acquisition date in a folder's name does not enter the case id."""
    table = sorted(source.rglob("data.csv"))
    rows = {row.get("Patient", ""): row for path in table for row in tables.rows_of(path)}
    problems: list[Problem] = []
    places: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(p for p in (source, *source.rglob("*")) if p.is_dir()):
        if FOLDER.fullmatch(path.name):
            places[patient_of(path)].append(path)
        elif any(p.suffix.lower() in (".tif", ".tiff") for p in path.iterdir()):
            what = "slices in a folder that is not named TCGA_<site>_<patient>_<date>, left out"
            problems.append(Problem("flag", str(path), what, "name it so, if it is a patient"))
    for patient, paths in places.items():
        if len(paths) > 1:
            where = " and ".join(str(p.relative_to(source)) for p in paths)
            what = f"patient {patient} is in {len(paths)} folders: {where}"
            problems.append(Problem("fault", str(paths[0]), what, "keep one of them"))
    cases = []
    for patient, paths in places.items():
        slices, odd = _slices(paths[0])
        problems += odd
        load = partial(_load, paths[0], slices)
        cases.append(Case(patient, patient, str(paths[0]), load, _attributes(paths[0], rows.get(patient, {}))))
    if not cases:
        what = "no folder here is named TCGA_<site>_<patient>_<date>"
        problems.append(Problem("fault", str(source), what, "give the folder that holds the patients' folders"))
    problems += _against_table(source, set(places), set(rows) - {""})
    return Source(cases, problems, CHANNELS, LABELS, TERMS)


def patient_of(folder: Path) -> str:
    """The patient in a folder's name, without the date."""
    found = FOLDER.fullmatch(folder.name)
    return found[1].upper() if found else folder.name


def _against_table(source: Path, found: set[str], listed: set[str]) -> list[Problem]:
    """Notes on patients of the table without a folder, and the other way round."""
    if not listed:
        return [Problem("note", str(source), "no data.csv, so sex, age, race and grade are unknown", "add it")]
    absent, unknown = sorted(listed - found), sorted(found - listed)
    notes = []
    if absent:
        what = f"{len(absent)} of the {len(listed)} patients listed have no folder: {', '.join(absent)}"
        notes.append(Problem("note", str(source / "data.csv"), what, "none needed"))
    if unknown:
        what = f"{len(unknown)} patients are not listed, so their attributes are unknown: {', '.join(unknown)}"
        notes.append(Problem("note", str(source / "data.csv"), what, "add their lines, if they are known"))
    return notes


def _attributes(folder: Path, row: dict[str, str]) -> dict[str, str]:
    """Site from the name; sex, race, WHO grade and age (years) from the table. What is missing or unknown is absent."""
    found = FOLDER.fullmatch(folder.name)
    result = {"site": found[2].upper() if found else ""}
    result["sex"], result["race"], result["grade"] = (
        words.get(row.get(column, "").removesuffix(".0"), "") for column, words in CODES.values()
    )
    result["age"] = row.get("age_at_initial_pathologic", "").removesuffix(".0")
    return {key: value for key, value in result.items() if value}


def _slices(folder: Path) -> tuple[dict[int, tuple[Path | None, Path | None]], list[Problem]]:
    """Slice number → image and mask, in numeric order, and what is wrong with the set."""
    found: dict[int, list[Path | None]] = defaultdict(lambda: [None, None])
    problems: list[Problem] = []
    odd = []
    for path in sorted(folder.iterdir()):
        name = SLICE.fullmatch(path.name)
        if not name:
            odd.append(path.name)
        elif name[1] != folder.name:
            what = f"expected slices of {folder.name}, got {path.name} of another patient"
            problems.append(Problem("fault", str(path), what, "move it to its own patient's folder"))
        elif (pair := found[int(name[2])])[is_mask := bool(name[3])] is not None:
            what = f"slice {name[2]} occurs twice: {pair[is_mask]} and {path.name}"
            problems.append(Problem("fault", str(path), what, "keep one of them"))
        else:
            pair[is_mask] = path
    if odd:
        problems.append(Problem("note", str(folder), f"files that no reader uses: {', '.join(odd)}", "none needed"))
    numbers = sorted(found)
    if numbers and (gaps := sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))):
        what = f"slices {', '.join(map(str, gaps))} are missing between {numbers[0]} and {numbers[-1]}"
        problems.append(Problem("flag", str(folder), what, "add them; without them, neighbours are further apart"))
    return {number: (found[number][0], found[number][1]) for number in numbers}, problems


def _load(folder: Path, slices: dict[int, tuple[Path | None, Path | None]]) -> Volume:
    """Stack a patient's slices; raises BrokenCase with all that is wrong."""
    problems: list[Problem] = []
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    shape: tuple[int, ...] | None = None
    for number, (image, mask) in slices.items():
        for path, what, stack, ndim in ((image, "image", images, 3), (mask, "mask", masks, 2)):
            if path is None:
                remedy = "add the file, or take the slice's other file out"
                problems.append(Problem("fault", str(folder), f"slice {number} has no {what}", remedy))
                continue
            try:
                pixels = _pixels(path, ndim)
            except BrokenCase as error:
                problems += error.problems
                continue
            shape = shape or pixels.shape[:2]
            if pixels.shape[:2] != shape:
                told = f"shape {list(pixels.shape[:2])} differs from the first slice's {list(shape)}"
                problems.append(Problem("fault", str(path), told, "bring all slices of a patient onto one grid"))
            stack.append(pixels)
    if not slices:
        problems.append(Problem("fault", str(folder), "the folder has no slices", "add them, or remove the folder"))
    if problems:
        raise BrokenCase(problems)
    # [slice, row, column, channel] → per channel [column, row, slice]
    stacked = np.stack(images).transpose(3, 2, 1, 0).astype(np.float32)
    order = {name: stacked[STORED.index(name)] for name in CHANNELS}
    return Volume(
        {name: np.ascontiguousarray(image) for name, image in order.items()},
        np.ascontiguousarray(np.stack(masks).transpose(2, 1, 0)),
        AFFINE.copy(),
        spacing_known=False,
    )


def _pixels(path: Path, ndim: int) -> np.ndarray:
    """One slice [row, column, channel], or one mask [row, column] as 0 and 1."""
    try:
        pixels = tifffile.imread(path)
    except Exception as error:  # tifffile and its codecs raise errors of many kinds for a broken file
        what = f"not a whole TIFF file ({error or type(error).__name__})"
        raise BrokenCase([Problem("fault", str(path), what, "copy the file again from its origin")]) from None
    if pixels.ndim != ndim or (ndim == 3 and pixels.shape[2] != len(STORED)):
        expected = f"[row, column, {len(STORED)}]" if ndim == 3 else "[row, column]"
        what = f"expected pixels {expected}, got shape {list(pixels.shape)}"
        raise BrokenCase([Problem("fault", str(path), what, "give the files of the original layout")])
    if ndim == 2:
        values = [int(v) for v in np.unique(pixels)]
        if set(values) - {0, 255} and set(values) - {0, 1}:
            what = f"expected a mask of 0 and 255 (or 0 and 1), got values {values[:6]}"
            raise BrokenCase([Problem("fault", str(path), what, "write the mask in two values")])
        return (pixels > 0).astype(np.uint8)
    return pixels
