"""Texture as strong, scale by scale, as that of patients.

Networks paint too softly what cannot be foretold. What a patient's detail (image minus mean image) has of each band of
low frequencies is of the style, and a painted volume is given as much by a gain, so nothing is there that is not
painted. The finest frequencies are left as painted: patients' are mostly at edges, painted ones everywhere, and as
strong they would be noise.
"""

import functools

import numpy as np

EDGES = (0.0, 0.03, 0.07, 0.12, 0.18, 0.25)
"""Of frequencies along x and along y, in cycles per pixel; an interval of each is a band: grids are resampled along the
axes, which leaves less in the corners of a spectrum. In the last interval gains go over into 1, from its middle on."""
INTERVALS = range(len(EDGES) - 2)
MOST = 2.0
"""Largest gain, and the inverse of the smallest."""


def middle(planes: np.ndarray) -> np.ndarray:
    """Of the numbers of the slices with a head in them the middle half, which spectra are of."""
    return planes[len(planes) // 4 : -(len(planes) // 4) or None]


def spectrum(detail: np.ndarray, head: np.ndarray) -> np.ndarray:
    """[channel, band] power for each voxel of the head of slices' detail [slice, channel, x, y], 0 outside it.

    That of white noise of unit spread is 1.
    """
    power = (np.abs(np.fft.fft2(detail)) ** 2).sum(0) / max(head.sum(), 1)
    x, y = (np.searchsorted(EDGES, np.abs(np.fft.fftfreq(side)), "right") - 1 for side in detail.shape[2:])
    parts = [power[:, np.outer(x == i, y == j)] for i in INTERVALS for j in INTERVALS]
    return np.stack([part.mean(1) if part.size else np.ones(len(power)) for part in parts], axis=1)


@functools.cache
def _bands(shape: tuple[int, ...]) -> np.ndarray:
    """[band, x, y] weights of the bands at the frequencies of a plane: from middle to middle in a line."""
    middles = (np.array(EDGES[:-1]) + EDGES[1:]) / 2
    ramps = np.eye(len(middles))[: len(INTERVALS)]
    x, y = ([np.interp(np.abs(np.fft.fftfreq(n)), middles, one) for one in ramps] for n in shape)
    return np.stack([np.outer(one, other) for one in x for other in y])


def toned(detail: np.ndarray, head: np.ndarray, wished: np.ndarray) -> np.ndarray:
    """A whole head's detail [slice, channel, x, y] with the spectrum [channel, band] wished, as far as MOST allows."""
    inside, some = detail * head[:, None], middle(np.flatnonzero(head.any(axis=(1, 2))))
    gains = np.clip(np.sqrt(wished / np.maximum(spectrum(inside[some], head[some]), 1e-12)), 1 / MOST, MOST)
    gain = 1 + np.tensordot(gains - 1, _bands(detail.shape[2:]), 1)
    made = np.fft.ifft2(np.fft.fft2(inside) * gain).real
    return np.asarray(made * head[:, None], np.float32)
