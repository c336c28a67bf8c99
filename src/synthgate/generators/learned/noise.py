"""The noise that painters begin with: its power falls as images' does, and its slices are as alike as patients'.

White noise is drawn, alike from slice to slice, and then filtered within each slice. Slices sampled from independent
noise do not fit together: shading and texture jump from one to the next.
"""

import itertools

import numpy as np
import torch
from torch import Tensor

BANDS = (0.0, 0.03, 0.08, 0.15, 0.25, 0.35, 0.75)
"""Edges of bands of in-plane spatial frequency, in cycles per pixel."""
FINEST = 0.3
"""Frequency in cycles per pixel above which noise has next to nothing: images have most of it at edges, which the
network is told of, and noise has it everywhere."""


def reddened(white: Tensor) -> Tensor:
    """White noise [item, channel, *space] with as much power in every octave up to FINEST, still of unit spread."""
    sides = white.shape[2:]
    along = torch.meshgrid(*(torch.fft.fftfreq(side, device=white.device) for side in sides), indexing="ij")
    frequency = torch.stack(along).square().sum(0).sqrt()
    power = frequency.clamp_min(1 / max(sides)) ** -len(sides) * torch.exp(-((frequency / FINEST) ** 4))
    space = tuple(range(2, white.ndim))
    return torch.fft.ifftn(torch.fft.fftn(white, dim=space) * (power / power.mean()).sqrt(), dim=space).real


def seen(mixture: Tensor, condition: Tensor) -> Tensor:
    """What the network sees of a mixture: none of it where nothing is painted, as noise there tells of noise inside."""
    return mixture * (condition[:, -1:] > 0)


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
