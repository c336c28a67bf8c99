"""Label-conditional random contrast: an image from a label map, in the prepared store's intensity convention.

After Billot et al. 2023 (SynthSeg, doi:10.1016/j.media.2023.102789): each class gets a random mean per channel, then
partial volume, bias, gamma and noise. Unlike there, means are drawn towards the training patients' by a random
strength, more so in the lesion: which channel shows which part of a lesion is the very thing a segmenter must learn.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthgate.cohort.prepare import BRIGHTEST
from synthgate.generators.anatomy import FIRST_CLUSTER, Anatomy
from synthgate.generators.fields import smooth_noise

HEAD_PULL = (0.1, 0.95)
LESION_PULL = (0.7, 1.0)
"""Range of the strength by which class means are drawn to those of the training patients; 1 is no free contrast."""
SPREAD = 1.3
"""Between-patient spread of a class's mean, as a multiple of that measured."""
VISIBLE = 0.15
"""Least difference of a lesion class from the head's mean, in the channel that shows it best."""
DARKEST = 0.02
"""Least mean of a class before the final normalisation."""
TEXTURE = (0.2, 0.7)
"""Within-class texture as a share of the standard deviation measured (which partial volume inflates)."""
BLUR = (0.5, 0.9)
RIM_BLUR = (0.8, 1.6)
"""Gaussian sigmas in in-plane voxels: partial volume everywhere, and across the lesion's border."""
BIAS = 0.2
LOG_GAMMA = 0.15
NOISE = 0.03
"""Largest standard deviations of log bias field, log gamma (normal), and noise."""


@dataclass(frozen=True)
class Statistics:
    """What was measured of the classes in the training patients, in prepared intensities; arrays [class, channel]."""

    classes: tuple[int, ...]
    """Map values: lesion labels, then FIRST_CLUSTER + cluster."""
    mean: np.ndarray
    """Mean over patients of a class's mean."""
    sd: np.ndarray
    """Its standard deviation between patients."""
    texture: np.ndarray
    """Mean over patients of the standard deviation within the class."""
    share: np.ndarray
    """[class] mean share of the head's voxels."""


@dataclass(frozen=True)
class Contrast:
    """The random parameters of one rendering, drawn first and then applied; arrays [class, channel] or [channel]."""

    means: np.ndarray
    textures: np.ndarray
    gamma: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    blur: float
    rim_blur: float


def draw(statistics: Statistics, rng: np.random.Generator) -> Contrast:
    """Draw a contrast."""
    channels = int(statistics.mean.shape[1])
    lesion = np.array(statistics.classes) < FIRST_CLUSTER
    weights = np.where(lesion, 0, statistics.share) / statistics.share[~lesion].sum()
    measured = rng.normal(statistics.mean, SPREAD * statistics.sd)
    free = rng.uniform(0, 1, measured.shape)
    pull = rng.uniform(*HEAD_PULL, channels)
    means = pull * measured + (1 - pull) * free
    # a lesion is known by its difference from what is around it, so that is what is drawn towards the real one
    around = weights @ means
    difference = measured - weights @ measured
    tie = rng.uniform(*LESION_PULL)
    means[lesion] = (tie * (around + difference) + (1 - tie) * free)[lesion]
    for row in np.flatnonzero(lesion):
        if np.abs(means[row] - around).max() < VISIBLE:
            best = np.abs(difference[row]).argmax()
            means[row, best] = around[best] + np.copysign(VISIBLE, difference[row, best])
    return Contrast(
        means=np.maximum(means, DARKEST),
        textures=statistics.texture * rng.uniform(*TEXTURE, statistics.texture.shape),
        gamma=np.exp(rng.normal(0, LOG_GAMMA, channels)),
        bias=rng.uniform(0, BIAS, channels),
        noise=rng.uniform(0, NOISE, channels),
        blur=rng.uniform(*BLUR),
        rim_blur=rng.uniform(*RIM_BLUR),
    )


def render(
    anatomy: Anatomy,
    contrast: Contrast,
    classes: tuple[int, ...],
    percentiles: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """The image [channel, x, y, z] float32 of an anatomy: 0 outside the head, 0..1 between the head's percentiles."""
    shape = anatomy.map.shape
    head = anatomy.map > 0
    # slices are thick: partial volume across them is already in the slices' own distance
    through = anatomy.spacing_mm[0] / anatomy.spacing_mm[2] if anatomy.spacing_mm else 0.0
    flat = np.array([1, 1, through])
    lesion = (anatomy.label > 0).astype(np.float32)
    soft = ndimage.gaussian_filter(lesion, contrast.rim_blur * flat)
    rim = 4 * soft * (1 - soft)
    at = np.full(256, -1)
    at[list(classes)] = np.arange(len(classes))
    index = at[anatomy.map]
    coarse = (max(2, shape[0] // 2), max(2, shape[1] // 2), shape[2])
    out = np.zeros((contrast.means.shape[1], *shape), np.float32)
    for channel in range(len(out)):
        means, textures = (
            np.append(table[:, channel], 0).astype(np.float32)[index] for table in (contrast.means, contrast.textures)
        )
        grain = 0.8 * rng.standard_normal(shape, np.float32) + 0.6 * smooth_noise(shape, coarse, rng)
        sharp = means + textures * grain
        image = ndimage.gaussian_filter(sharp, contrast.blur * flat)
        image += rim * (ndimage.gaussian_filter(sharp, contrast.rim_blur * flat) - image)
        image *= np.exp(contrast.bias[channel] * smooth_noise(shape, (3, 3, 3), rng))
        image += contrast.noise[channel] * rng.standard_normal(shape, np.float32)
        image = np.maximum(image, 0) ** np.float32(contrast.gamma[channel])
        low, high = np.percentile(image[head], percentiles)
        out[channel] = np.clip((image - low) / max(high - low, 1e-6), 0, BRIGHTEST) * head
    return out
