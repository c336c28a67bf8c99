"""From signal to image: the three sites' scanners, with their contrast, resolution, shading, noise and gain."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthgate.cohort.phantom.anatomy import GRID
from synthgate.cohort.phantom.fields import Field, smooth_noise

GREY_LEVELS = 72.0
"""Grey level of unit signal at gain 1: noise is one to three grey levels, which decides the size on disk."""


@dataclass(frozen=True)
class Scanner:
    """One site's scanner; the tuples are per channel: t1, t1ce, t2, flair."""

    contrast: tuple[float, float, float, float]
    """Stretch of the signal about white matter's: above 1 separates the tissues more."""
    gain: tuple[float, float, float, float]
    noise: tuple[float, float, float, float]
    """Standard deviation of the complex noise relative to unit signal."""
    blur: tuple[float, float, float, float]
    """Point spread in plane: sigma in voxels."""
    shading: float
    """Amplitude of the bias field's logarithm."""
    flicker: float
    """Slice-to-slice variation of the gain."""


SCANNERS: dict[str, Scanner] = {
    "A": Scanner(
        contrast=(1.12, 1.08, 1.05, 1.00), gain=(1.00, 1.00, 0.95, 1.05),
        noise=(0.016, 0.017, 0.018, 0.020), blur=(0.42, 0.42, 0.42, 0.50), shading=0.10, flicker=0.004,
    ),
    "B": Scanner(
        contrast=(0.82, 0.86, 0.92, 0.95), gain=(0.86, 0.90, 0.88, 0.92),
        noise=(0.025, 0.025, 0.022, 0.026), blur=(0.55, 0.55, 0.50, 0.62), shading=0.06, flicker=0.012,
    ),
    "C": Scanner(
        contrast=(0.98, 0.95, 1.12, 1.18), gain=(1.10, 1.04, 1.00, 0.84),
        noise=(0.020, 0.020, 0.022, 0.023), blur=(0.45, 0.48, 0.55, 0.45), shading=0.13, flicker=0.006,
    ),
}  # fmt: skip


def scan(
    signal: Mapping[str, Field],
    brain: np.ndarray,
    white: Mapping[str, float],
    scanner: Scanner,
    rng: np.random.Generator,
) -> dict[str, Field]:
    """Images [x, y, z] float32 of whole grey levels: at least 1 inside the brain, 0 outside.

    `white` is the signal of white matter per channel, about which the scanner's contrast stretches.
    """
    # the coils' shading is the same head in the same coil: mostly shared by the channels
    shared = smooth_noise(rng, GRID, 40.0)
    gain = rng.lognormal(0, 0.06)
    images = {}
    for i, (channel, clean) in enumerate(signal.items()):
        stretched = np.maximum(white[channel] + (clean - white[channel]) * scanner.contrast[i], 0.02)
        seen = ndimage.gaussian_filter(stretched * brain, (scanner.blur[i], scanner.blur[i], 0), truncate=3.0)
        shade = np.exp(scanner.shading * (0.8 * shared + 0.4 * smooth_noise(rng, GRID, 30.0)))
        slices = rng.lognormal(0, scanner.flicker, GRID.shape[2]).astype(np.float32)
        strength = np.float32(gain * scanner.gain[i] * rng.lognormal(0, 0.04))
        real, imaginary = scanner.noise[i] * rng.standard_normal((2, *GRID.shape), dtype=np.float32)
        rician = np.hypot(seen * shade * slices + real, imaginary)
        images[channel] = np.where(brain, np.maximum(np.rint(GREY_LEVELS * strength * rician), 1), 0).astype(np.float32)
    return images
