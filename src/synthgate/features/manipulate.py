"""What a copy may have gone through: known changes of a prepared case, to measure what the search for copies finds.

Every change takes a case and randomness and returns a new case of the same shape; the same draw gives the same case.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from synthgate.features.head import box_of, head_of

BRIGHTEST = 1.5
"""Prepared intensities end here."""


@dataclass(frozen=True)
class Pixels:
    """A prepared image float32 [channel, x, y, z], 0 outside the head, and its label uint8 [x, y, z]."""

    image: np.ndarray
    label: np.ndarray


Manipulation = Callable[[Pixels, np.random.Generator], Pixels]


def exact(case: Pixels, rng: np.random.Generator) -> Pixels:
    """The case itself."""
    return Pixels(case.image.copy(), case.label.copy())


def mirrored(case: Pixels, rng: np.random.Generator) -> Pixels:
    """Left and right exchanged."""
    return Pixels(np.ascontiguousarray(case.image[:, ::-1]), np.ascontiguousarray(case.label[::-1]))


def shifted(case: Pixels, rng: np.random.Generator, share: float = 0.05) -> Pixels:
    """Moved in-plane by `share` of the width, in any direction; what leaves the frame is lost."""
    angle = rng.uniform(0, 2 * np.pi)
    move = share * case.label.shape[0] * np.array([np.cos(angle), np.sin(angle)])
    return _warped(case, np.broadcast_to(move[:, None, None, None], (2, *case.label.shape)))


def rotated(case: Pixels, rng: np.random.Generator, degrees: float = 5) -> Pixels:
    """Turned in-plane about the head's middle, either way; what leaves the frame is lost."""
    angle = np.deg2rad(degrees) * rng.choice([-1, 1])
    box = box_of(head_of(case.image))
    place = np.indices(case.label.shape[:2]).astype(float)
    if box is not None:
        place -= np.array([(side.start + side.stop - 1) / 2 for side in box[:2]])[:, None, None]
    turned = np.tensordot([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], place, 1)
    return _warped(case, np.broadcast_to((turned - place)[..., None], (2, *case.label.shape)))


def noisy(case: Pixels, rng: np.random.Generator, noise: float = 0.05, log_gamma: float = 0.4) -> Pixels:
    """Each channel through a gamma of its own, then noise of standard deviation `noise` within the head."""
    gamma = np.exp(rng.choice([-1, 1], len(case.image)) * log_gamma)[:, None, None, None]
    image = case.image**gamma + rng.normal(0, noise, case.image.shape)
    return Pixels(_bounded(image, head_of(case.image)), case.label.copy())


def elastic(case: Pixels, rng: np.random.Generator, share: float = 0.02, reach: float = 0.1) -> Pixels:
    """Bent smoothly in-plane: displacements of standard deviation `share` of the width, alike over `reach` of it."""
    width = case.label.shape[0]
    move = ndimage.gaussian_filter(rng.normal(size=(2, *case.label.shape)), (0, *[reach * width] * 2, 4), mode="wrap")
    return _warped(case, move / max(move.std(), 1e-9) * share * width)


def cropped(case: Pixels, rng: np.random.Generator, share: float = 0.1) -> Pixels:
    """A smaller field of view: up to `share` of the head's box cut from each side of each axis."""
    box = box_of(head_of(case.image))
    seen = np.zeros(case.label.shape, bool)
    if box is not None:
        sides = [(side, side.stop - side.start) for side in box]
        cuts = [np.floor(rng.uniform(0, share, 2) * length).astype(int) for _, length in sides]
        seen[tuple(slice(s.start + a, s.stop - b) for (s, _), (a, b) in zip(sides, cuts, strict=True))] = True
    return Pixels(case.image * seen, case.label * seen)


def relabelled(case: Pixels, rng: np.random.Generator, voxels: int = 2) -> Pixels:
    """The label grown by `voxels` in-plane, the image left alone."""
    label = case.label
    grown = ndimage.grey_dilation(label, size=(2 * voxels + 1, 2 * voxels + 1, 1))
    return Pixels(case.image.copy(), np.where(label > 0, label, grown) * head_of(case.image))


def blended(case: Pixels, other: Pixels, share: float = 0.5) -> Pixels:
    """`share` of another patient's image, brought to this one's head and slices, mixed in; this one's label."""
    head, theirs = head_of(case.image), head_of(other.image)
    box, there = box_of(head), box_of(theirs)
    image = case.image.copy()
    if box is not None and there is not None:
        crop = torch.from_numpy(np.ascontiguousarray(other.image[(slice(None), *there)], np.float32))
        size = tuple(side.stop - side.start for side in box)
        fitted = functional.interpolate(crop[None], size=size, mode="trilinear", align_corners=False)[0].numpy()
        image[(slice(None), *box)] = (1 - share) * image[(slice(None), *box)] + share * fitted
    return Pixels(image * head, case.label.copy())


MANIPULATIONS: Mapping[str, Manipulation] = {
    "exact": exact,
    "mirrored": mirrored,
    "shifted": shifted,
    "rotated 5°": functools.partial(rotated, degrees=5),
    "relabelled": relabelled,
    "noise and gamma": noisy,
    "rotated 10°": functools.partial(rotated, degrees=10),
    "elastic": elastic,
    "cropped": cropped,
}
"""All but the blend, which takes two patients."""


def _warped(case: Pixels, move: np.ndarray) -> Pixels:
    """Fetch every voxel from where `move` [2, x, y, z] (in pixels) points; linear, labels by the nearest."""
    width, height, _ = case.label.shape
    place = np.indices(case.label.shape[:2])[..., None] + move
    # grid_sample wants y before x, each from -1 to 1 between the centres of the outermost pixels
    grid = np.stack([2 * place[1] / max(height - 1, 1) - 1, 2 * place[0] / max(width - 1, 1) - 1], axis=-1)
    grids = torch.from_numpy(np.ascontiguousarray(grid.transpose(2, 0, 1, 3), dtype=np.float32))

    def sampled(values: np.ndarray, mode: str) -> np.ndarray:
        planes = torch.from_numpy(np.ascontiguousarray(values.transpose(3, 0, 1, 2), dtype=np.float32))
        found = functional.grid_sample(planes, grids, mode=mode, align_corners=True)
        return np.ascontiguousarray(found.numpy().transpose(1, 2, 3, 0))

    image = sampled(case.image, "bilinear")
    return Pixels(np.clip(image, 0, BRIGHTEST), sampled(case.label[None], "nearest")[0].astype(np.uint8))


def _bounded(image: np.ndarray, head: np.ndarray) -> np.ndarray:
    # a voxel of the head stays above zero: zero is the background
    return (np.clip(image, 1e-3, BRIGHTEST) * head).astype(np.float32)
