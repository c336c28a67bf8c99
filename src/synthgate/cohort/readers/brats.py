"""Reader of the BraTS challenges' training folders, 2018 to 2023, under their original names.

2018-2020: `Brats18_CBICA_AAB_1/…_flair.nii.gz` (in `HGG` and `LGG`), `BraTS20_Training_001/…`; 2021:
`BraTS2021_00000/BraTS2021_00000_flair.nii.gz`; 2023: `BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz`.
"""

import re
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from synthgate.cohort import nifti
from synthgate.cohort.case import Case, Problem, Source, Volume
from synthgate.cohort.readers import tables

CHANNELS = ("t1", "t1ce", "t2", "flair")
LABELS = (1, 2, 4)
"""Necrotic core, oedema, enhancing tumour (3 in 2023, read as 4)."""
TERMS = ("BraTS: for research as the challenge's data use agreement allows; cite the papers that it names",)
FOLDER = re.compile(
    r"brats1[789]_\w+|brats20_(training|validation)_\d+|brats2021_\d+|brats-[a-z]+-\d{5}-\d{3}", re.IGNORECASE
)
ROLES = {c: c for c in (*CHANNELS, "seg")} | {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
NEW_NAME = re.compile(r"(brats-[a-z]+-\d{5})-\d{3}", re.IGNORECASE)
SUFFIX = re.compile(r"(.+)[_-](\w+?)\.nii(\.gz)?", re.IGNORECASE)


def read(source: Path) -> Source:
    """List the cases of a BraTS folder; in 2023's naming a case is one time point of a patient.

    Site, grade, age and sex come from the CSV files that lie beside the cases, where they name them.
    """
    folders, problems = _folders(source)
    places: dict[str, list[Path]] = defaultdict(list)
    for path in folders:
        places[path.name.lower()].append(path)
    cases = []
    rows = [row for path in sorted(source.rglob("*.csv")) for row in tables.rows_of(path)]
    known = tables.matched(rows, (path.name for path in folders))
    for paths in places.values():
        if len(paths) > 1:
            where = " and ".join(str(p.relative_to(source)) for p in paths)
            what = f"patient {patient_of(paths[0].name)} is in {len(paths)} folders: {where}"
            problems.append(Problem("fault", str(paths[0]), what, "keep one of them"))
        case, odd = _case(paths[0], known.get(paths[0].name, {}))
        cases.append(case)
        problems += odd
    if not cases:
        what = "no folder here has a BraTS name (2018-2023)"
        problems.append(Problem("fault", str(source), what, "give the folder that holds the cases' folders"))
    return Source(cases, problems, CHANNELS, LABELS, TERMS)


def patient_of(name: str) -> str:
    """The patient of a case's folder: `BraTS-GLI-00000-001` is the second time point of `BraTS-GLI-00000`."""
    found = NEW_NAME.fullmatch(name)
    return found[1] if found else name


def _folders(source: Path) -> tuple[list[Path], list[Problem]]:
    """Folders named as cases, and a flag for every other folder that holds images."""
    cases: list[Path] = []
    problems: list[Problem] = []
    for path in sorted(p for p in (source, *source.rglob("*")) if p.is_dir()):
        files = [p for p in path.iterdir() if p.is_file()]
        images = any(p.name.lower().endswith(nifti.SUFFIXES) for p in files)
        if FOLDER.fullmatch(path.name) and (images or not any(p.is_dir() for p in path.iterdir())):
            cases.append(path)
        elif images:
            what = "images in a folder without a BraTS name (2018-2023), left out"
            problems.append(Problem("flag", str(path), what, "name folder and files as the challenge did"))
    return cases, problems


def _case(path: Path, row: dict[str, str]) -> tuple[Case, list[Problem]]:
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    others = []
    for file in sorted(p for p in path.iterdir() if p.is_file()):
        found = SUFFIX.fullmatch(file.name)
        role = ROLES.get(found[2].lower()) if found else None
        if role is None or found is None:
            others.append(file)
        elif found[1].lower() != path.name.lower():
            what = f"expected files of {path.name}, got {file.name} of another case"
            problems.append(Problem("fault", str(file), what, "move it to its own case's folder, or rename it"))
        elif role in files:
            what = f"two files are the case's {role}: {files[role].name} and {file.name}"
            problems.append(Problem("fault", str(file), what, "keep one of them"))
        else:
            files[role] = file
    segmentations = [p for p in others if "seg" in p.name.lower() and p.name.lower().endswith(nifti.SUFFIXES)]
    if "seg" not in files and len(segmentations) == 1:  # BraTS20_Training_355 came with W39_1998.09.19_Segm.nii
        files["seg"] = segmentations[0]
        others.remove(segmentations[0])
        what = "taken as the label, though not named as one"
        problems.append(Problem("flag", str(segmentations[0]), what, f"rename it to {path.name}_seg.nii"))
    if odd := [p.name for p in others]:
        problems.append(Problem("note", str(path), f"files that no reader uses: {', '.join(odd)}", "none needed"))
    load = partial(_load, path, files)
    return Case(path.name, patient_of(path.name), str(path), load, _attributes(path, row)), problems


def _attributes(path: Path, row: dict[str, str]) -> dict[str, str]:
    """Site, grade, age and sex from the source's tables; site and grade else from the names of 2017-2019."""
    site = next((value for key, value in row.items() if key.startswith("site")), "")
    parts = (row.get("brats_2019_subject_id") or row.get("brats_2018_subject_id") or path.name).split("_")
    if not site and re.fullmatch(r"brats1\d", parts[0], re.IGNORECASE) and len(parts) > 2:
        site = parts[1]
    grade = row.get("grade", "") or (path.parent.name if path.parent.name in ("HGG", "LGG") else "")
    sex = (row.get("sex") or row.get("gender") or "")[:1].upper()
    found = {"site": site, "sex": sex, "age": row.get("age", ""), "grade": grade}
    return {key: value for key, value in found.items() if value and value.lower() not in ("na", "nan")}


def _load(path: Path, files: dict[str, Path]) -> Volume:
    new = NEW_NAME.fullmatch(path.name) is not None
    channels = {c: files.get(c, path / f"{path.name}{'-' if new else '_'}{_suffix(c, new)}.nii.gz") for c in CHANNELS}
    volume = nifti.assemble(channels, files.get("seg"))
    # the challenge's grid is in mm by its own definition, whatever unit a header names
    volume = replace(volume, spacing_known=True)
    if not new or volume.label is None:
        return volume
    if (volume.label == 4).any():
        what = "expected labels 1, 2, 3 as in 2023, got 4 (later challenges mark the resection cavity so)"
        raise nifti.broken(files["seg"], what, "give the labels of 2023, or rename the case as in 2021")
    return replace(volume, label=np.where(volume.label == 3, 4, volume.label).astype(np.uint8))


def _suffix(channel: str, new: bool) -> str:
    return next(s for s, c in reversed(ROLES.items()) if c == channel) if new else channel
