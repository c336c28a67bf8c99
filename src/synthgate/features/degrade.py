"""Ways in which synthetic images go wrong, planted on purpose: the gate must notice them (STATISTICS §2).

Each takes a prepared case, image float32 [channel, x, y, z] that is 0 outside the head and label uint8 [x, y, z], and
gives the spoiled one in the same conventions. `severity` is in the unit its line says.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage

from synthgate.features.head import head_of

Pixels = tuple[np.ndarray, np.ndarray]
Degrade = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], Pixels]

CROSS = ndimage.generate_binary_structure(2, 1)[:, :, None]
LEVELS = 255
"""Grey levels that prepared intensity 0 to 1 stands for, the unit of noise."""


def noise(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """White noise of `severity` grey levels of 255, within the head."""
    noisy = image + rng.normal(0, severity / LEVELS, image.shape)
    return _within(noisy, image), label


def blur(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """A Gaussian of `severity` in-plane pixels."""
    return _within(ndimage.gaussian_filter(image, (0, severity, severity, 0)), image), label


def gamma(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """Intensities to the power of `severity`."""
    return _within(np.clip(image, 0, None) ** severity, image), label


def swapped_channels(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """The first two channels under each other's name."""
    return image[[1, 0, *range(2, len(image))]], label


def upside_down(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """Feet to head, image and label alike."""
    return np.ascontiguousarray(image[..., ::-1]), np.ascontiguousarray(label[..., ::-1])


def wrong_labels(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """The label moved in-plane by `severity` of the head's size, in a random direction: it fits no lesion any more."""
    sides = np.array([np.ptp(np.flatnonzero(head_of(image).any(axis=(1 - axis, 2)))) + 1 for axis in (0, 1)])
    angle = rng.uniform(0, 2 * np.pi)
    step = np.rint(severity * sides * [np.cos(angle), np.sin(angle)]).astype(int)
    # towards the middle of the head rather than off it
    place = np.argwhere(label.any(axis=2)).mean(axis=0) if label.any() else sides / 2
    step = np.where((place - np.array(label.shape[:2]) / 2) * step > 0, -step, step)
    return image, np.roll(label, tuple(step), axis=(0, 1)) * head_of(image)


def dilated_labels(image: np.ndarray, label: np.ndarray, severity: float, rng: np.random.Generator) -> Pixels:
    """Every region grown by `severity` in-plane pixels."""
    near = ndimage.distance_transform_edt(label == 0, sampling=(1, 1, 1e6), return_distances=True, return_indices=True)
    grown = np.where(near[0] <= severity, label[tuple(near[1])], 0).astype(label.dtype)
    return image, np.where(label > 0, label, grown) * head_of(image)


def _within(changed: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The changed image, dark outside the head and not negative within."""
    return (np.clip(changed, 0, None) * head_of(image)).astype(np.float32)


DEGRADES: Mapping[str, Degrade] = {
    f.__name__: f for f in (noise, blur, gamma, swapped_channels, upside_down, wrong_labels, dilated_labels)
}
