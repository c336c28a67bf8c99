"""Images as detailed, frequency by frequency, as those of patients: sharpness and noise tell a scanner.

What a patient's image has of each band of frequencies is of the style, and a painted image is given as much by a gain:
nothing is there that is not painted. (Noise added to fill a band would lie everywhere, where patients' finest detail is
mostly at edges; and detail beside the mean image is not the same for a patient's own map, whose borders are hard.)
"""

import functools

import numpy as np

EDGES = (0.0, 0.03, 0.07, 0.12, 0.18, 0.25, 0.32, 0.4, 0.51)
"""Of frequencies along x and along y, in cycles per pixel; an interval of each is a band: grids are resampled along the
axes, which leaves less in the corners of a spectrum."""
INTERVALS = range(len(EDGES) - 1)
LOWEST = np.array([np.hypot(EDGES[i], EDGES[j]) for i in INTERVALS for j in INTERVALS])
"""[band] lowest frequency of it."""
COARSE = 0.1
"""Lowest frequency that is changed; below it are anatomy and shading."""
MOST = 2.0
"""Largest gain, and the inverse of the smallest."""


def middle(planes: np.ndarray) -> np.ndarray:
    """Of the numbers of the slices with a head in them the middle half, which spectra are of."""
    return planes[len(planes) // 4 : -(len(planes) // 4) or None]


def _centred(image: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Slices [slice, channel, x, y] with 0 as their mean in the head [slice, x, y], and outside it."""
    inside = head[:, None]
    total = (image * inside).sum(axis=(2, 3), keepdims=True)
    return np.asarray((image - total / np.maximum(inside.sum(axis=(2, 3), keepdims=True), 1)) * inside)


def spectrum(image: np.ndarray, head: np.ndarray) -> np.ndarray:
    """[channel, band] power for each voxel of the head [slice, x, y] of slices [slice, channel, x, y].

    That of white noise of unit spread is 1.
    """
    power = (np.abs(np.fft.fft2(_centred(image, head))) ** 2).sum(0) / max(head.sum(), 1)
    x, y = (np.searchsorted(EDGES, np.abs(np.fft.fftfreq(side)), "right") - 1 for side in image.shape[2:])
    parts = [power[:, np.outer(x == i, y == j)] for i in INTERVALS for j in INTERVALS]
    return np.stack([part.mean(1) if part.size else np.ones(len(power)) for part in parts], axis=1)


@functools.cache
def _bands(shape: tuple[int, ...]) -> np.ndarray:
    """[band, x, y] weights of the bands at the frequencies of a plane: from middle to middle in a line."""
    middles = (np.array(EDGES[:-1]) + EDGES[1:]) / 2
    x, y = ([np.interp(np.abs(np.fft.fftfreq(n)), middles, one) for one in np.eye(len(middles))] for n in shape)
    return np.stack([np.outer(one, other) for one in x for other in y])


def toned(image: np.ndarray, head: np.ndarray, wished: np.ndarray) -> np.ndarray:
    """A head's image [slice, channel, x, y] with the spectrum [channel, band] wished, 0 outside the head [slice, x, y].

    From COARSE on, and as far as MOST allows.
    """
    some = middle(np.flatnonzero(head.any(axis=(1, 2))))
    gains = np.clip(np.sqrt(wished / np.maximum(spectrum(image[some], head[some]), 1e-12)), 1 / MOST, MOST)
    gains[:, LOWEST < COARSE] = 1
    change = np.tensordot(gains - 1, _bands(image.shape[2:]), 1)
    added = np.fft.ifft2(np.fft.fft2(_centred(image, head)) * change).real
    return np.asarray((image + added) * head[:, None], np.float32)
