"""What may identify a person beside the pixels: texts in file headers, names of files and columns."""

import gzip
import re
from pathlib import Path

import nibabel
import tifffile

from synthgate.cohort.nifti import SUFFIXES, UNREADABLE

NIFTI_TEXTS = ("descrip", "db_name", "aux_file", "intent_name")
TIFF_TEXTS = (
    "ImageDescription", "Artist", "DateTime", "HostComputer", "Copyright", "DocumentName", "PageName", "XMP",
    "ExifTag", "GPSTag", "IPTCNAA",
)  # fmt: skip
TOOL = re.compile(
    r"(FSL|SPM|ITK|FreeSurfer|NiftyReg|NiftySeg|AFNI|ANTs|nibabel|nilearn|dcm2niix?|Convert3D|c3d|MINC|CaPTk|"
    r"MRtrix|SimpleITK|5\.0|6\.0)[\w.:+ -]{0,24}",
    re.IGNORECASE,
)
"""Texts that tools write of themselves; a date or a name in one still counts."""
DATE = re.compile(
    r"(?<!\d)((19|20)\d\d[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])"
    r"|(0[1-9]|[12]\d|3[01])[-_.](0[1-9]|1[0-2])[-_.](19|20)\d\d)(?!\d)"
)
PERSON = re.compile(
    r"[A-Za-z]{2,}\^[A-Za-z]*|(?<![A-Za-z0-9])[A-Z][a-z]{2,}[ ,_-]+[A-Z][a-z]{2,}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])[A-Z]{4,}[ ,_-]+[A-Z]{4,}(?![A-Za-z0-9])"
)
COLUMN = re.compile(
    r"(patient_?|first_?|last_?|family_?)?name|surname|(date_?of_?)?birth.*|dob|mrn|address|phone|e?mail", re.I
)


def in_name(name: str) -> str:
    """`a date`, `a person's name` or nothing: what a file's or folder's name seems to hold."""
    return "a date" if DATE.search(name) else "a person's name" if PERSON.search(name) else ""


def in_columns(columns: list[str]) -> list[str]:
    """Columns of a table of patients that identify by their title."""
    return [column for column in columns if COLUMN.fullmatch(column.strip())]


def in_file(path: Path) -> list[str]:
    """Fields of a NIfTI's or TIFF's header that hold a text no known tool writes; an unreadable file has none."""
    name = path.name.lower()
    try:
        if name.endswith(SUFFIXES):
            return _in_nifti(path)
        return _in_tiff(path) if name.endswith((".tif", ".tiff")) else []
    except (*UNREADABLE, tifffile.TiffFileError):
        return []


def _in_nifti(path: Path) -> list[str]:
    with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as stream:
        kind = nibabel.Nifti1Header if stream.read(4) in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") else nibabel.Nifti2Header
        stream.seek(0)
        header = kind.from_fileobj(stream)
    fields = [field for field in NIFTI_TEXTS if field in header and _tells(bytes(header[field].tobytes()))]
    # an extension's bytes are not searched: DICOM, XML or anything may lie there
    return fields + [f"extension {extension.get_code()}" for extension in header.extensions]


def _in_tiff(path: Path) -> list[str]:
    with tifffile.TiffFile(path) as file:
        tags = {tag.name: tag.value for tag in file.pages.first.tags}
    return [name for name in TIFF_TEXTS if name in tags and _tells(str(tags[name]).encode())]


def _tells(content: bytes) -> bool:
    text = content.rstrip(b"\0 ").decode("latin-1").replace("\0", "").strip()
    # tifffile writes the shape of the pixels into ImageDescription
    own = bool(TOOL.fullmatch(text)) or text.startswith('{"shape":')
    return bool(text) and (not own or bool(in_name(text)))
