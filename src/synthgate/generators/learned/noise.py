"""Noise from which volumes are sampled slice by slice: white within a slice, and as alike between slices as patients.

Slices sampled from independent noise do not fit together: shading and texture jump from one to the next.
"""

import itertools

import numpy as np

BANDS = (0.0, 0.03, 0.08, 0.15, 0.25, 0.35, 0.75)
"""Edges of bands of in-plane spatial frequency, in cycles per pixel."""


def _radius(shape: tuple[int, ...]) -> np.ndarray:
    return np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])


def likeness(residuals: np.ndarray) -> np.ndarray:
    """Correlation of neighbouring slices, band by band, of a volume's residuals [slice, channel, x, y]."""
    spectrum, radius = np.fft.fft2(residuals), _radius(residuals.shape[2:])
    out = []
    for low, high in itertools.pairwise(BANDS):
        part = spectrum * ((radius >= low) & (radius < high))
        here, there = part[:-1], part[1:]
        power = np.sqrt((np.abs(here) ** 2).sum() * (np.abs(there) ** 2).sum())
        out.append(float((here * there.conj()).real.sum() / max(power, 1e-12)))
    return np.clip(out, 0, 0.99)


def correlated(shape: tuple[int, ...], alike: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise [slice, channel, x, y] float32, N(0, 1) and white in every slice; neighbours correlate by `alike`.

    An autoregression along the slices, frequency by frequency.
    """
    middles = (np.array(BANDS[:-1]) + BANDS[1:]) / 2
    keep = np.interp(_radius(shape[2:]), middles, alike)
    fresh = np.sqrt(1 - keep**2)
    spectrum = np.fft.fft2(rng.standard_normal(shape, np.float32))
    for place in range(1, len(spectrum)):
        spectrum[place] = keep * spectrum[place - 1] + fresh * spectrum[place]
    return np.fft.ifft2(spectrum).real.astype(np.float32)
