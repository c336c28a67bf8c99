"""Intensity clusters inside the brain: k-means on smoothed, standardised channels.

They give a label map with too few classes (a tumour mask alone, say) the anatomy that random contrast needs, as in the
unsupervised label maps of Billot et al. 2023 (SynthSeg, doi:10.1016/j.media.2023.102789).
"""

import numpy as np
from scipy import ndimage

from synthgate import workers
from synthgate.errors import CohortError

RESTARTS = 4
TISSUES, SHADING, ROUNDS = 4, 12.0, 4
"""Classes that shading is told apart from, its smoothness (Gaussian sigma in in-plane voxels), and corrections."""
STEP = 4
"""In the plane one in so many voxels along each axis is looked at to find the shading."""
MOST_ITERATIONS = 100


def standardised(image: np.ndarray, inside: np.ndarray, smoothing: float, through: float) -> np.ndarray:
    """Smooth within the mask, take the shading off, scale each channel to mean 0, sd 1 over the mask; 0 outside.

    `image` is [channel, x, y, z], `inside` [x, y, z] bool; `smoothing` is a Gaussian sigma in in-plane voxels, of which
    `through` make one across slices. Nothing outside the mask is averaged in.
    """
    out = np.zeros(image.shape, np.float32)
    out[:, inside] = _scaled(_smoothed(image, inside, smoothing, through)[:, inside])
    out[:, inside] = _scaled((out - _shading(out, inside, through))[:, inside])
    return out


def _shading(values: np.ndarray, inside: np.ndarray, through: float) -> np.ndarray:
    """The smooth field [channel, x, y, z] by which a tissue differs from place to place.

    After Wells et al. 1996 (doi:10.1109/42.511747): classify, smooth what the classes do not tell, take it off, again.
    """
    coarse, where = values[:, ::STEP, ::STEP], inside[::STEP, ::STEP]
    left, centres = coarse.copy(), None
    if len(np.unique(coarse[:, where].T[::STEP], axis=0)) < TISSUES:
        return np.zeros_like(values)
    for _ in range(ROUNDS):
        points = left[:, where]
        some = points.T[::STEP].astype(np.float64)
        # a little shading less moves the centres a little: they are looked for from where they were
        centres = fit(some, TISSUES, np.random.default_rng(0)) if centres is None else _lloyd(some, centres)
        rest = np.zeros_like(left)
        rest[:, where] = points - centres[assign(points, centres)].T
        left = left - _smoothed(rest, where, SHADING / STEP, STEP * through)
    field = coarse - left
    for axis in (1, 2):
        at = np.minimum(np.arange(values.shape[axis]) / STEP, field.shape[axis] - 1)
        weights = np.maximum(1 - np.abs(at[:, None] - np.arange(field.shape[axis])), 0).astype(np.float32)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return field


def _smoothed(image: np.ndarray, inside: np.ndarray, sigma: float, through: float) -> np.ndarray:
    """[channel, x, y, z] averaged over the voxels nearby that are inside."""
    sigmas = (sigma, sigma, sigma * through)
    weight = np.maximum(ndimage.gaussian_filter(inside.astype(np.float32), sigmas), 1e-6)
    return np.stack([ndimage.gaussian_filter(channel * inside, sigmas) / weight for channel in image])


def _scaled(values: np.ndarray) -> np.ndarray:
    """[channel, n] of mean 0 and sd 1."""
    spread = np.maximum(values.std(axis=1, keepdims=True), 1e-6)
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / spread, np.float32)


def fit(samples: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Cluster centres [cluster, channel] of samples [n, channel], darkest first; the best of a few k-means++ starts.

    Raises CohortError where there are fewer distinct samples than clusters.
    """
    points = samples.astype(np.float64)
    if len(np.unique(points, axis=0)) < clusters:
        raise CohortError(f"{clusters} clusters need as many different intensities in the heads; lower `clusters`")
    starts = [_spread(points, clusters, rng) for _ in range(RESTARTS)]
    tries = workers.each(lambda start: _lloyd(points, start), starts)
    centres = min(tries, key=lambda found: float(_squared(points, found).min(1).sum()))
    return centres[np.argsort(centres.mean(1), kind="stable")].astype(np.float32)


def assign(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre, uint8 [n], for features [channel, n]."""
    return _squared(features.T, centres).argmin(1).astype(np.uint8)


def _squared(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances [n, cluster]."""
    return (centres**2).sum(1) - 2 * points @ centres.T + (points**2).sum(1)[:, None]


def _spread(points: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ starts (Arthur and Vassilvitskii 2007): each far from those before it."""
    centres = points[[rng.integers(len(points))]]
    while len(centres) < clusters:
        distance = np.maximum(_squared(points, centres).min(1), 0)
        centres = np.vstack([centres, points[rng.choice(len(points), p=distance / distance.sum())]])
    return centres


def _lloyd(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    for _ in range(MOST_ITERATIONS):
        distance = _squared(points, centres)
        nearest = distance.argmin(1)
        moved = centres.copy()
        for cluster in range(len(centres)):
            members = points[nearest == cluster]
            # a cluster that lost all its points starts again at the point farthest from any centre
            moved[cluster] = members.mean(0) if len(members) else points[distance.min(1).argmax()]
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres
