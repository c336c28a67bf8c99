"""The cohort folder: `cases.csv`, and per case a folder with one NIfTI per channel and `label.nii.gz`.

The contract of DESIGN.md §3, for real and synthetic cases alike.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthgate.cohort import nifti
from synthgate.cohort.case import Volume
from synthgate.errors import CohortError
from synthgate.files import replacing, write_text

TABLE = "cases.csv"
SOURCE = "source.json"
KEYS = ("case_id", "patient_id")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAMED_BY = "letters, digits, '.', '_' and '-', at most 100"
"""What NAME says, for people."""


def write_case(folder: Path, case_id: str, volume: Volume) -> None:
    """Write one case to `folder/case_id`, whole or not at all; the same volume gives the same bytes.

    An image is stored as int16 where its values are whole numbers of that range, else as float32. Where the spacing is
    unknown, the header names no unit of length. Raises CohortError where the id cannot be a folder's name.
    """
    if not NAME.fullmatch(case_id):
        raise CohortError(f"{folder}: case_id {case_id!r} cannot name a folder; use {NAMED_BY}")
    with replacing(folder / case_id) as beside:
        beside.mkdir()
        for channel, image in volume.images.items():
            nifti.write(beside / f"{channel}.nii.gz", stored(image), volume.affine, volume.spacing_known)
        if volume.label is not None:
            nifti.write(beside / "label.nii.gz", volume.label.astype(np.uint8), volume.affine, volume.spacing_known)


def stored(image: np.ndarray) -> np.ndarray:
    """The image in the type it is kept in: int16 without loss, else float32."""
    limits = np.iinfo(np.int16)
    if image.min() >= limits.min and image.max() <= limits.max and np.array_equal(image, np.rint(image)):
        return image.astype(np.int16)
    return image.astype(np.float32)


def load_case(folder: Path, channels: Sequence[str]) -> Volume:
    """Read the case in `folder` (`…/case_id`); the label is None where there is no `label.nii.gz`.

    Raises CohortError (BrokenCase) with everything that is wrong, each line naming the file and the remedy.
    """
    label = file_of(folder, "label")
    return nifti.assemble({c: file_of(folder, c) or folder / f"{c}.nii.gz" for c in channels}, label)


def file_of(folder: Path, stem: str) -> Path | None:
    """The NIfTI file `stem` of a case folder, packed or not; None where there is none."""
    return next((path for end in nifti.SUFFIXES if (path := folder / f"{stem}{end}").is_file()), None)


def channels_in(folder: Path) -> set[str]:
    """Names of the image files in a case folder."""
    names = (p.name for p in folder.iterdir() if p.name.endswith(nifti.SUFFIXES) and not p.name.startswith("."))
    return {name.removesuffix(".gz").removesuffix(".nii") for name in names} - {"label"}


def write_table(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write `cases.csv`: case_id, patient_id, then the other columns in the order they first appear."""
    columns = list(dict.fromkeys([*KEYS, *(key for row in rows for key in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / TABLE, text.getvalue())


def read_table(folder: Path, people: bool = True) -> list[dict[str, str]]:
    """Rows of `cases.csv` in order; raises CohortError where it is missing or is not such a table.

    With `people` False a row may lack its patient_id: it is then a person of its own, named by its case_id.
    """
    path = folder / TABLE
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
    except FileNotFoundError:
        found = "the folder does not exist" if not folder.is_dir() else "the folder has no cases.csv"
        raise CohortError(f"{path}: {found}; give a cohort folder, or name its layout by --layout") from None
    except OSError as error:
        what = f"cannot be read ({error.strerror}); give the folder that holds {TABLE}, a file"
        raise CohortError(f"{path}: {what}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path}: not a CSV table in UTF-8 ({error}); save it again as such") from None
    needed = KEYS if people else KEYS[:1]
    missing = [key for key in needed if key not in (reader.fieldnames or [])]
    if missing:
        raise CohortError(f"{path}: expected the columns {', '.join(needed)}, missing {', '.join(missing)}; add them")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values() or not all(row[key] for key in needed):
            what = f"line {number} has not one value per column, or no {' or '.join(needed)}"
            raise CohortError(f"{path}: {what}; complete the line")
    return [{**row, "patient_id": row.get("patient_id") or row["case_id"]} for row in rows]
