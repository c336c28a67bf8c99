"""Descriptors: at most thirty numbers that say what a case looks like, each with a plain meaning.

Where a number cannot be computed (no lesion, an empty image) it is None, never 0 or NaN.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from synthgate.features.head import box_of, head_of

EDGE = 1
"""Width, in in-plane pixels, of the rims inside and outside a lesion's edge between which its contrast is measured."""
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
    inner, outer = _rims(lesion)
    for name, channel in zip(names, image, strict=True):
        values |= _intensities(name, channel, head, lesion, inner, outer & head)
    return values | _skewness_gaps(names, image, head) | _texture(image, head)


def _rims(lesion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lesion's voxels within EDGE in-plane pixels of its edge, and those as near to it outside.

    A label that is too large or too small by a pixel or two has both rims on one side of the true edge.
    """
    box = box_of(lesion)
    inner, outer = np.zeros_like(lesion), np.zeros_like(lesion)
    if box is not None:
        # one pixel more, so that the crop's own border is no edge
        near = tuple(slice(max(part.start - EDGE - 1, 0), part.stop + EDGE + 1) for part in box[:2])
        place = (*near, box[2])
        crop = lesion[place]
        inner[place] = crop & ~ndimage.binary_erosion(crop, CROSS, iterations=EDGE, border_value=1)
        outer[place] = ndimage.binary_dilation(crop, CROSS, iterations=EDGE) & ~crop
    return inner, outer


def _shares(label: np.ndarray, regions: Mapping[str, tuple[int, ...]], head: np.ndarray) -> Descriptors:
    size = int(head.sum())
    return {
        f"{name}_share": int(np.isin(label, list(part)).sum()) / size if size else None
        for name, part in regions.items()
    }


def _place(lesion: np.ndarray, head: np.ndarray) -> Descriptors:
    """Centroid of the lesion in the head's box along x, y and z; extent, the geometric mean of its sides there."""
    values: Descriptors = {}
    extents = []
    for axis, letter in enumerate("xyz"):
        others = tuple(a for a in range(3) if a != axis)
        in_head, in_lesion = np.flatnonzero(head.any(axis=others)), lesion.sum(axis=others)
        hits = np.flatnonzero(in_lesion)
        if not len(hits) or not len(in_head):
            values[f"lesion_{letter}"] = None
            continue
        side = in_head[-1] + 1 - in_head[0]
        middle = float(np.arange(len(in_lesion)) @ in_lesion) / float(in_lesion.sum()) + 0.5 - in_head[0]
        values[f"lesion_{letter}"] = float(middle / side)
        extents.append((hits[-1] + 1 - hits[0]) / side)
    return values | {"lesion_extent": float(np.exp(np.mean(np.log(extents)))) if extents else None}


def _intensities(
    name: str, channel: np.ndarray, head: np.ndarray, lesion: np.ndarray, inner: np.ndarray, outer: np.ndarray
) -> Descriptors:
    """Standard deviation and coefficient of variation in the head; standard deviation in the lesion; edge contrast.

    Intensities are normalised between percentiles, so that a change of their curve (gamma) shows in the variation.
    """
    inside, sick = channel[head], channel[lesion]
    mean = float(inside.mean()) if inside.size else 0.0
    return {
        f"{name}_sd": float(inside.std()) if inside.size else None,
        f"{name}_variation": float(inside.std()) / mean if mean > 0 else None,
        f"{name}_lesion_sd": float(sick.std()) if sick.size > 1 else None,
        f"{name}_contrast": float(channel[inner].mean() - channel[outer].mean())
        if inner.any() and outer.any()
        else None,
    }


def _skewness_gaps(names: tuple[str, ...], image: np.ndarray, head: np.ndarray) -> Descriptors:
    """By how much the skewness in the head of each channel exceeds that of the channel before.

    Two channels that look alike, such as T1 before and after contrast, differ in it within each patient: exchanged,
    they give the opposite number.
    """
    skewness = [_skewness(channel[head]) for channel in image]
    return {
        f"{after}_{before}_skewness": None if one is None or two is None else two - one
        for before, after, one, two in zip(names, names[1:], skewness, skewness[1:], strict=False)
    }


def _skewness(values: np.ndarray) -> float | None:
    """Third standardised moment; None for fewer than two values, or equal ones."""
    if values.size < 2 or float(values.std()) < 1e-6:
        return None
    centred = values.astype(float) - values.mean(dtype=float)
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


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
