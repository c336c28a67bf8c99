"""Answers: from NIfTI bytes to the label file or the volumes; one path for the service and the command line."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from synthgate.cohort.case import Volume
from synthgate.errors import CohortError
from synthgate.registry import versions
from synthgate.registry.bundle import NOTICE, Bundle
from synthgate.serving.intake import Refused, read_volume

NIFTI = ("application/gzip", "application/octet-stream")
"""Media types of the label file; the first where the client does not care."""
JSON = "application/json"


@dataclass(frozen=True)
class Model:
    """What is served: a bundle and the tags under which it is registered."""

    bundle: Bundle
    tags: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """`v1.0.0`, or "unregistered"."""
        return versions.version(self.tags)

    def describe(self) -> dict[str, Any]:
        """The entry of `GET /v1/models`."""
        settings = self.bundle.settings
        return {
            "name": settings.artifact,
            "study": settings.study,
            "version": self.version,
            "tags": list(self.tags),
            "manifest": self.bundle.manifest_id,
            "channels": list(settings.channels),
            "regions": {region: list(values) for region, values in settings.regions},
            "notice": NOTICE,
        }

    def headers(self) -> dict[str, str]:
        """HTTP headers that say who answered; the label file has no other place for it."""
        return {
            "X-Synthgate-Model": self.bundle.settings.artifact,
            "X-Synthgate-Version": self.version,
            "X-Synthgate-Manifest": self.bundle.manifest_id,
            "X-Synthgate-Notice": NOTICE,
        }


@dataclass(frozen=True)
class Answer:
    """A segmented request."""

    model: Model
    volume: Volume
    label: nib.Nifti1Image
    """uint8, on the grid and with the geometry header of the first channel."""

    def nifti(self) -> bytes:
        """The label as the bytes of a `.nii.gz`; the same request gives the same bytes."""
        return gzip.compress(self.label.to_bytes(), 6, mtime=0)

    def json(self) -> dict[str, Any]:
        """Millilitres (null where the voxel size is unknown) and voxels per region, and who says so."""
        bundle, label = self.model.bundle, np.asarray(self.label.dataobj)
        ml, voxels = bundle.region_ml(label, self.volume), bundle.region_voxels(label)
        return {
            "study": bundle.settings.study,
            "model": {"name": bundle.settings.artifact, "version": self.model.version},
            "manifest": bundle.manifest_id,
            "regions": {region: {"ml": ml[region], "voxels": voxels[region]} for region in voxels},
            "notice": NOTICE,
        }


def answer(model: Model, files: Mapping[str, bytes], most_bytes: int) -> Answer:
    """Segment a request: the bytes of one NIfTI file per channel; raises Refused (an IntakeError)."""
    volume, first = read_volume(files, model.bundle.settings.channels, most_bytes)
    try:
        label = model.bundle.segment(volume)
    except CohortError as error:
        raise Refused(str(error), "images of a head", "check that the channels are what their names say") from error
    return Answer(model, volume, like(first, label, f"{NOTICE}; manifest {model.bundle.manifest_id}"))


def answer_files(model: Model, files: Mapping[str, Path], most_bytes: int) -> Answer:
    """As `answer`, from files; raises IntakeError, naming the file where one cannot be opened."""
    contents = {}
    for name, path in files.items():
        try:
            contents[name] = Path(path).read_bytes()
        except OSError as error:
            raise Refused(f"{path} ({name}): {error.strerror}", "a readable file", "check the path") from None
    return answer(model, contents, most_bytes)


def like(image: nib.Nifti1Image, label: np.ndarray, description: str) -> nib.Nifti1Image:
    """The uint8 `label` with the geometry of `image` (shape, affines and their codes, spacing, units) and nothing else.

    Other header fields and extensions may hold names and dates, so they do not travel.
    """
    header = type(image.header)()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(label.shape)
    header["pixdim"][:4] = image.header["pixdim"][:4]
    header.set_xyzt_units(image.header.get_xyzt_units()[0])
    for field in ("dim_info", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"):
        header[field] = image.header[field]
    for field in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        header[field] = image.header[field]
    header["descrip"] = description.encode()[:79]
    # the affine it states is the one given, so nibabel leaves both of its forms as they are
    return type(image)(label, header.get_best_affine(), header)


def choose(accept: str) -> str | None:
    """The media type to answer with, by an `Accept` header; None where none of ours will do."""
    wanted: dict[str, float] = {}
    for part in (accept or "*/*").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            wanted[name] = float(quality)
        except ValueError:
            wanted[name] = 0.0

    def weight(offer: str) -> float:
        kind = offer.partition("/")[0] + "/*"
        return next((wanted[name] for name in (offer, kind, "*/*") if name in wanted), 0.0)

    best = max((*NIFTI, JSON), key=weight)
    return best if weight(best) > 0 else None
