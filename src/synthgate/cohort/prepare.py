"""From a volume on its own grid to the arrays that are trained on, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from synthgate.cohort.case import Volume
from synthgate.errors import CohortError
from synthgate.params import Prepare

BRIGHTEST = 1.5
"""Prepared intensities are clipped here; 0 and 1 are the percentiles of the head's core."""
HEAD_LEVEL = 0.1
"""A voxel belongs to the head above this share of the way from the background to the channels' 99.5th percentile."""
RIND = 0.12
"""Depth of scalp and skull, as a share of the head's shorter in-plane side; the core lies below it."""
FRAME = 2
"""Pixels at the in-plane border whose 10th percentile is taken for the background."""


@dataclass(frozen=True)
class Geometry:
    """What it takes to bring prepared voxels back onto the grid they came from."""

    orientation: tuple[tuple[int, int], ...]
    """nibabel orientation of the native axes, native → RAS."""
    native_shape: tuple[int, ...]
    box: tuple[tuple[int, int], tuple[int, int]]
    """The head's in-plane box (x, y) on the RAS grid, half open."""
    scaled: tuple[int, int]
    """The box's size after scaling, in prepared pixels."""
    pad: tuple[int, int]
    """Pixels before the scaled box on the prepared grid."""
    spacing_mm: tuple[float, float, float] | None
    """Voxel size of the prepared grid; None where the source gives none."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Geometry":
        """The geometry that `dataclasses.asdict` made and JSON carried."""
        return cls(**{name: _tupled(part) for name, part in value.items()})


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Prepared:
    """A prepared case; z is the native axial slice, x and y have the size of the parameters."""

    image: np.ndarray
    """[channel, x, y, z] float16: 0 outside the head, 0..1 between the percentiles, at most BRIGHTEST."""
    label: np.ndarray | None
    """[x, y, z] uint8."""
    truth: np.ndarray | None
    """The label on its native grid, uint8."""
    geometry: Geometry


def prepare_volume(volume: Volume, channels: Sequence[str], params: Prepare) -> Prepared:
    """Prepare one volume: RAS axes, head box fitted into the in-plane size, percentile normalisation per channel.

    Raises CohortError for a missing channel, for axes that are not three, and for an image without a head.
    """
    missing = [name for name in channels if name not in volume.images]
    if missing:
        raise CohortError(
            f"channels {missing} are missing; the study needs {list(channels)}, got {sorted(volume.images)}"
        )
    native = volume.images[channels[0]].shape
    orientation = nib.orientations.io_orientation(volume.affine)
    image = np.stack([_ras(volume.images[name], orientation) for name in channels]).astype(np.float32)
    if not np.isfinite(image).all():
        bad = [name for name, channel in zip(channels, image, strict=True) if not np.isfinite(channel).all()]
        raise CohortError(f"{', '.join(bad)}: expected finite values, got NaN or infinity; correct the file")
    spacing = np.sqrt((volume.affine[:3, :3] ** 2).sum(0))[np.argsort(orientation[:, 0])]

    head = find_head(image)
    box = tuple(
        (int(hit[0]), int(hit[-1]) + 1) for axis in (0, 1) if (hit := np.flatnonzero(head.any(axis=(1 - axis, 2)))).size
    )
    sides_mm = [(high - low) * (spacing[axis] if volume.spacing_known else 1.0) for axis, (low, high) in enumerate(box)]
    per_mm = min(size / side for size, side in zip(params.size, sides_mm, strict=True))
    scaled = tuple(min(size, max(1, round(side * per_mm))) for size, side in zip(params.size, sides_mm, strict=True))
    pad = tuple((size - side) // 2 for size, side in zip(params.size, scaled, strict=True))
    geometry = Geometry(
        orientation=tuple((int(axis), int(flip)) for axis, flip in orientation),
        native_shape=tuple(native),
        box=(box[0], box[1]),
        scaled=(scaled[0], scaled[1]),
        pad=(pad[0], pad[1]),
        spacing_mm=_scaled_spacing(spacing, box, scaled) if volume.spacing_known else None,
    )

    image = _normalised(image, head.astype(np.float32), params.percentiles)
    label = None
    if volume.label is not None:
        values = np.union1d([0], volume.label)
        parts = np.stack([_ras(volume.label, orientation) == value for value in values]).astype(np.float32)
        label = values[_fit(parts, geometry, params.size).argmax(0)].astype(np.uint8)
    # resampling averages the extremes away, and how bright an image is must not depend on the grid it came on
    *fitted, inside = _fit(np.concatenate([image, head[None]]).astype(np.float32), geometry, params.size)
    prepared = _normalised(np.stack(fitted), inside, params.percentiles).astype(np.float16)
    return Prepared(prepared, label, volume.label, geometry)


def _normalised(image: np.ndarray, inside: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """[channel, x, y, z], 0..1 between the percentiles of the head's core; `inside` [x, y, z] is the head's share."""
    core = core_of(inside >= min(0.5, float(inside.max())))
    low, high = (np.stack([np.percentile(c[core], p) for c in image]) for p in percentiles)
    span = np.maximum(high - low, 1e-6)[:, None, None, None]
    out = (image - low[:, None, None, None] * inside) / span * (inside > 0)
    return np.asarray(np.clip(out, 0, BRIGHTEST), np.float32)


def find_head(image: np.ndarray) -> np.ndarray:
    """[x, y, z] bool: the largest bright component of the channels' mean, holes filled slice by slice.

    `image` is [channel, x, y, z]. Raises CohortError where nothing is brighter than the background.
    """
    top = np.percentile(image.reshape(len(image), -1), 99.5, axis=1)
    if not (top > 0).any():
        raise CohortError("the image holds no head: its channels are constant or nowhere above zero; check the files")
    mean = np.mean([channel / level for channel, level in zip(image, top, strict=True) if level > 0], axis=0)
    inner = np.zeros(mean.shape, bool)
    inner[FRAME:-FRAME, FRAME:-FRAME] = True
    # some scanners store a background well above zero
    background = float(np.percentile(mean[~inner], 10))
    parts, count = ndimage.label(mean > background + HEAD_LEVEL * (1 - background))
    if not count:
        raise CohortError("the image holds no head: nothing stands out of its background; check the files")
    head = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(head, 2, 0)], axis=2)


def core_of(head: np.ndarray) -> np.ndarray:
    """[x, y, z] bool: the head without its rind, slice by slice; the whole head where nothing would be left.

    Fat in the scalp may be brighter than anything in the brain, and not every source has removed it.
    """
    sides = [int(np.ptp(np.flatnonzero(head.any(axis=(1 - axis, 2))))) + 1 for axis in (0, 1)]
    depth = max(1, round(RIND * min(sides)))
    padded = np.pad(head, ((1, 1), (1, 1), (0, 0)))
    core = np.stack([ndimage.distance_transform_cdt(plane, "taxicab") > depth for plane in padded.transpose(2, 0, 1)])
    core = core.transpose(1, 2, 0)[1:-1, 1:-1]
    return core if core.any() else head


def restore(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Bring [region, x, y, z] float32 from the prepared grid back to [region, *native_shape]; 0 outside the box."""
    (x0, x1), (y0, y1) = geometry.box
    (px, py), (w, h) = geometry.pad, geometry.scaled
    inner = _resize(values[:, px : px + w, py : py + h], (x1 - x0, y1 - y0))
    orientation = np.array(geometry.orientation)
    ras_shape = tuple(geometry.native_shape[axis] for axis in np.argsort(orientation[:, 0]))
    out = np.zeros((len(values), *ras_shape), np.float32)
    out[:, x0:x1, y0:y1] = inner
    back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), orientation)
    return np.stack([nib.orientations.apply_orientation(part, back) for part in out])


def _scaled_spacing(spacing: np.ndarray, box: Sequence[Any], scaled: Sequence[int]) -> tuple[float, float, float]:
    x, y = ((high - low) * float(spacing[axis]) / scaled[axis] for axis, (low, high) in enumerate(box))
    return x, y, float(spacing[2])


def _ras(array: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    if array.ndim != 3:
        raise CohortError(f"expected three axes (x, y, z), got shape {array.shape}; split a series into single volumes")
    # contiguous, so that the same voxels give the same bytes whatever their order was
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, orientation))


def _fit(parts: np.ndarray, geometry: Geometry, size: tuple[int, int]) -> np.ndarray:
    (x0, x1), (y0, y1) = geometry.box
    out = np.zeros((len(parts), *size, parts.shape[3]), np.float32)
    (px, py), (w, h) = geometry.pad, geometry.scaled
    out[:, px : px + w, py : py + h] = _resize(parts[:, x0:x1, y0:y1], geometry.scaled)
    return out


def _resize(parts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, with area averaging where it shrinks; [part, x, y, z] → [part, *size, z]."""
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(parts, 3, 1)))
    resized = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False, antialias=True)
    return np.moveaxis(resized.numpy(), 1, 3)
