"""Descriptors: at most thirty numbers that say what a case looks like, each with a plain meaning.

Where a number cannot be computed (no lesion, an empty image) it is None, never 0 or NaN.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from synthgate.features.head import box_of, head_of

SURROUND = 3
"""Half width, in in-plane pixels, of the shell around a lesion that its contrast is measured against."""
CROSS = ndimage.generate_binary_structure(2, 1)[:, :, None]
FREQUENCIES = (0.04, 0.4)
"""Band of the spectrum's slope, in cycles per pixel: above the head's outline, below the grid's limit."""
TEXTURE_SLICES = 16
"""Axial slices that sharpness, noise and spectrum are taken from."""

Descriptors = dict[str, float | None]


def describe(
    image: np.ndarray,
    label: np.ndarray,
    regions: Mapping[str, tuple[int, ...]],
    spacing_mm: tuple[float, float, float] | None,
    channels: tuple[str, ...] | None = None,
) -> Descriptors:
    """Describe a prepared case.

    `image` is float32 [channel, x, y, z], 0 outside the head; `label` uint8 [x, y, z]. Volumes are in ml where the
    voxel size is known, else in thousands of voxels; shares and places are relative to the head and its box.
    """
    names = channels or tuple(str(index) for index in range(len(image)))
    head = head_of(image)
    voxel = float(np.prod(spacing_mm)) / 1000 if spacing_mm else 1e-3
    values: Descriptors = {"head_volume": float(head.sum()) * voxel}
    lesion = np.isin(label, [value for part in regions.values() for value in part])
    values |= _shares(label, regions, head)
    values |= _place(lesion, head)
    shell = _shell(lesion) & head
    for name, channel in zip(names, image, strict=True):
        values |= _intensities(name, channel, head, lesion, shell)
    return values | _texture(image, head)


def _shell(lesion: np.ndarray) -> np.ndarray:
    """The voxels within SURROUND in-plane pixels around the lesion, without it."""
    box = box_of(lesion)
    shell = np.zeros_like(lesion)
    if box is not None:
        near = tuple(slice(max(part.start - SURROUND, 0), part.stop + SURROUND) for part in box[:2])
        crop = lesion[(*near, box[2])]
        shell[(*near, box[2])] = ndimage.binary_dilation(crop, CROSS, iterations=SURROUND) & ~crop
    return shell


def _shares(label: np.ndarray, regions: Mapping[str, tuple[int, ...]], head: np.ndarray) -> Descriptors:
    size = int(head.sum())
    return {
        f"{name}_share": int(np.isin(label, list(part)).sum()) / size if size else None
        for name, part in regions.items()
    }


def _place(lesion: np.ndarray, head: np.ndarray) -> Descriptors:
    """Centroid and extent of the lesion as shares of the head's box along x, y and z."""
    values: Descriptors = {}
    for axis, letter in enumerate("xyz"):
        others = tuple(a for a in range(3) if a != axis)
        in_head, in_lesion = np.flatnonzero(head.any(axis=others)), lesion.sum(axis=others)
        hits = np.flatnonzero(in_lesion)
        if not len(hits) or not len(in_head):
            values |= {f"lesion_{letter}": None, f"lesion_extent_{letter}": None}
            continue
        side = in_head[-1] + 1 - in_head[0]
        middle = float(np.arange(len(in_lesion)) @ in_lesion) / float(in_lesion.sum()) + 0.5 - in_head[0]
        values[f"lesion_{letter}"] = float(middle / side)
        values[f"lesion_extent_{letter}"] = float((hits[-1] + 1 - hits[0]) / side)
    return values


def _intensities(
    name: str, channel: np.ndarray, head: np.ndarray, lesion: np.ndarray, shell: np.ndarray
) -> Descriptors:
    """Mean and standard deviation in the head, standard deviation in the lesion, contrast of lesion to surround."""
    inside, sick, around = channel[head], channel[lesion], channel[shell]
    return {
        f"{name}_mean": float(inside.mean()) if inside.size else None,
        f"{name}_sd": float(inside.std()) if inside.size else None,
        f"{name}_lesion_sd": float(sick.std()) if sick.size > 1 else None,
        f"{name}_contrast": float(sick.mean() - around.mean()) if sick.size and around.size else None,
    }


def _texture(image: np.ndarray, head: np.ndarray) -> Descriptors:
    """Sharpness, noise and spectrum slope, each the mean over channels that are not constant.

    Sharpness is the in-plane gradient energy over the variance; noise is Immerkær's estimate (1996) over the standard
    deviation, by the median so that edges do not count; the slope is that of log power over log frequency.
    """
    found: dict[str, list[float]] = {"sharpness": [], "noise": [], "spectrum_slope": []}
    # these want no whole volume: the slices with at least half of the largest slice's head, some of them
    area = head.sum(axis=(0, 1))
    full = np.flatnonzero(area >= max(area.max() / 2, 1))
    full = (
        full[np.linspace(0, len(full) - 1, min(len(full), TEXTURE_SLICES)).round().astype(int)] if len(full) else full
    )
    planes = np.ascontiguousarray(np.moveaxis(image[..., full], 3, 1))
    mask = np.moveaxis(head[..., full], 2, 0)
    inner = mask[:, 1:-1, 1:-1] & mask[:, 2:, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 1:-1, 2:] & mask[:, 1:-1, :-2]
    for channel in planes:
        spread = float(channel[mask].std()) if inner.any() else 0.0
        if spread < 1e-6:
            continue
        x = (channel[:, 2:, 1:-1] - channel[:, :-2, 1:-1])[inner] / 2
        y = (channel[:, 1:-1, 2:] - channel[:, 1:-1, :-2])[inner] / 2
        found["sharpness"].append(float((x**2 + y**2).mean()) / spread**2)
        columns = channel[:, 2:] + channel[:, :-2] - 2 * channel[:, 1:-1]
        rough = (columns[:, :, 2:] + columns[:, :, :-2] - 2 * columns[:, :, 1:-1])[inner]
        found["noise"].append(float(np.median(np.abs(rough))) / 0.6745 / 6 / spread)
        slope = _slope(channel)
        if slope is not None:
            found["spectrum_slope"].append(slope)
    return {name: float(np.mean(part)) if part else None for name, part in found.items()}


def _slope(planes: np.ndarray) -> float | None:
    """Slope of the mean power spectrum of [slice, x, y]; None for a grid too small for the band."""
    power = (np.abs(np.fft.rfft2(planes - planes.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    radius = np.hypot(np.fft.fftfreq(planes.shape[1])[:, None], np.fft.rfftfreq(planes.shape[2])[None])
    band = (radius >= FREQUENCIES[0]) & (radius <= FREQUENCIES[1]) & (power > 0)
    if band.sum() < 3:
        return None
    return float(np.polyfit(np.log(radius[band]), np.log(power[band]), 1)[0])
