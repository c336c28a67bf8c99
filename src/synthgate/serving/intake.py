"""Intake: the bytes of a request become a volume, or one clear refusal.

Nothing is unpacked before its header has been read and its size allowed, and nothing is written to disk.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import IO, Any

import nibabel as nib
import numpy as np

from synthgate.cohort.case import Volume
from synthgate.errors import IntakeError

AFFINE_TOLERANCE = 1e-3
"""Largest difference, in any element, between affines that are called the same."""
SLACK_BYTES = 1 << 16
"""Bytes that a file may hold after its voxels (some writers pad)."""
KINDS = {348: (nib.Nifti1Image, 344, b"n+1\0"), 540: (nib.Nifti2Image, 4, b"n+2\0")}
"""Header size → nibabel class, place and text of the magic of a single file."""
UNREADABLE = (OSError, EOFError, ValueError, TypeError, OverflowError, zlib.error, struct.error)
WHOLE = "a whole NIfTI file (.nii or .nii.gz)"


class Refused(IntakeError):
    """A request that cannot be answered: what is wrong, what was expected, and what to do."""

    def __init__(self, error: str, expected: str, remedy: str, status: int = 400) -> None:
        super().__init__(f"{error}; expected {expected}; {remedy}", status)
        self.told = {"error": error, "expected": expected, "remedy": remedy}


def check_channels(given: Iterable[str], channels: Sequence[str]) -> None:
    """Raise Refused unless each of `channels` is given exactly once and nothing else is."""
    names = list(given)
    wanted = f"one NIfTI file for each of {', '.join(channels)}"
    for what, found in (
        ("unknown", sorted({name[:40] for name in names if name not in channels})),
        ("missing", [name for name in channels if name not in names]),
        ("duplicate", [name for name in channels if names.count(name) > 1]),
    ):
        if found:
            shown = ", ".join(map(repr, found[:8]))
            raise Refused(f"{what} channel {shown}", wanted, "send each channel once, under its name")


def read_volume(files: Mapping[str, bytes], channels: Sequence[str], most_bytes: int) -> tuple[Volume, nib.Nifti1Image]:
    """The volume that one NIfTI file per channel makes, and the first channel's image, whose geometry the answer takes.

    Raises Refused for missing or unknown channels, files that are not readable, grids that differ, values that are not
    finite, and (status 413) for more than `most_bytes` of voxels of all channels, as stored or as float32.
    """
    check_channels(files, channels)
    images: dict[str, nib.Nifti1Image] = {}
    left = most_bytes
    for name in channels:
        images[name], used = read_image(name, files[name], left)
        left -= used
    first = images[channels[0]]
    for name in channels[1:]:
        _check_same_grid(channels[0], first, name, images[name])
    return Volume({name: _values(name, image) for name, image in images.items()}, None, *_place(images)), first


def read_image(name: str, content: bytes, most_bytes: int) -> tuple[nib.Nifti1Image, int]:
    """One channel's image, still as stored, and the bytes its voxels take; raises Refused."""
    if not content:
        raise Refused(f"{name} is an empty file", WHOLE, "send the file again")
    packed = content[:2] == b"\x1f\x8b"
    stream: Any = gzip.GzipFile(fileobj=BytesIO(content)) if packed else BytesIO(content)
    try:
        return _read(name, stream, most_bytes)
    except Refused:
        raise
    except (*UNREADABLE, nib.spatialimages.HeaderDataError, nib.filebasedimages.ImageFileError) as error:
        broken = "its compressed data is truncated or broken" if packed else "its header or data is broken"
        raise Refused(f"{name} cannot be read: {broken}", WHOLE, "send the file again") from error


def _read(name: str, stream: IO[bytes], most_bytes: int) -> tuple[nib.Nifti1Image, int]:
    head = stream.read(540)
    sizes = {struct.unpack(order + "i", head[:4])[0] for order in "<>"} if len(head) >= 348 else set()
    kind, at, magic = KINDS.get(next(iter(sizes & KINDS.keys()), 0), (None, 0, b""))
    if kind is None or head[at : at + 4] != magic:
        raise Refused(f"{name} is not a NIfTI file", WHOLE, "convert it, header and voxels in one file")
    header = kind.header_class.from_fileobj(BytesIO(head), check=True)
    shape = header.get_data_shape()
    if len(shape) < 3 or math.prod(shape[3:]) != 1 or min(shape) < 1:
        raise Refused(
            f"{name} has shape {list(shape)}", "three axes (x, y, z) of positive length", "send one volume per channel"
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise Refused(f"{name} holds {dtype}", "integers or floating-point numbers up to 64 bit", "convert its voxels")
    start = int(header.get_data_offset())
    voxels = math.prod(shape)
    used = max(voxels * max(dtype.itemsize, 4), start)
    if used > most_bytes:
        raise Refused(
            f"{name} unpacks to {used / 1e6:.0f} MB",
            f"at most {most_bytes / 1e6:.0f} MB in this place",
            "send a smaller volume, or raise SYNTHGATE_MAX_MB where the service runs",
            413,
        )
    end = start + voxels * dtype.itemsize
    content = head + stream.read(max(end - len(head), 0))
    if start < kind.header_class.sizeof_hdr or len(content) < end:
        raise Refused(f"{name} ends before its voxels do", WHOLE, "send the file again")
    if len(stream.read(SLACK_BYTES + 1)) > SLACK_BYTES:  # to the end, so that a checksum is checked
        raise Refused(f"{name} is longer than its header says", WHOLE, "write the file again")
    return kind.from_bytes(content), used


def _values(name: str, image: nib.Nifti1Image) -> np.ndarray:
    """[x, y, z] float32, scaled as the header says."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(np.asanyarray(image.dataobj).reshape(image.shape[:3]), dtype=np.float32)
    wrong = int(values.size - np.isfinite(values).sum())
    if wrong:
        raise Refused(
            f"{name} holds {wrong} voxels that are NaN or infinite",
            "finite numbers",
            "replace them, e.g. by background",
        )
    return values


def _place(images: Mapping[str, nib.Nifti1Image]) -> tuple[np.ndarray, bool]:
    """The affine (voxel to mm), and whether its lengths are known: as for cohort folders (synthgate.cohort.nifti)."""
    name, image = next(iter(images.items()))
    header = image.header
    affine = np.asarray(image.affine, np.float64)
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        raise Refused(
            f"{name} does not say how its axes lie (sform_code and qform_code are 0)",
            "an orientation in the header",
            "set it, e.g. from the DICOM series",
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise Refused(f"{name} has an affine that cannot be inverted", "voxel axes in mm", "repair its header")
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise Refused(f"{name} gives lengths in {unit}", "lengths in mm", "convert its header")
    return affine, bool(unit == "mm" or not np.allclose(nib.affines.voxel_sizes(affine), 1, atol=1e-5))


def _check_same_grid(first: str, one: Any, name: str, other: Any) -> None:
    same, remedy = "all channels on one grid", "resample them onto one grid"
    if one.shape[:3] != other.shape[:3]:
        shapes = f"{name} has shape {list(other.shape[:3])}, {first} has {list(one.shape[:3])}"
        raise Refused(shapes, same, remedy)
    if not np.allclose(one.affine, other.affine, rtol=0, atol=AFFINE_TOLERANCE):
        raise Refused(f"{name} and {first} have different affines", same, remedy)
