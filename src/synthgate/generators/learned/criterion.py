"""Which checkpoint is best, and whether it memorises: by slices of patients the weights never learned from.

A checkpoint paints the label maps of learned and of unseen training patients. Fidelity is the kernel distance between
what it paints for unseen maps and their real slices; 1-NN accuracy is told beside it. Memorisation: what a painter adds
to a learned patient's map must not be nearer to that patient's own image than it is for an unseen patient. The space is
of Haar wavelets, their energies and how alike they are in every two channels, which the gate does not use.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage, stats

from synthgate.generators.learned.conditions import image_of
from synthgate.stats.distances import kernel_distance
from synthgate.stats.neighbours import one_nn_accuracy

LEVELS = 3
CELLS = 4
"""Wavelet energies are averaged over so many cells along each side."""
FAINT = 1e-4
"""Energy that is as good as none."""
STEADIEST = 0.1
"""Features that vary less than this between real slices (cells at a head's rim) are not magnified to unit spread."""

COARSE = 2.0
"""Gaussian sigma in pixels before residuals are compared: what is coarse is learned by heart first, noise last."""
CHANCE = 0.01
"""A training is stopped only if so near by chance is less likely than this: few slices are near by chance often."""


@dataclass(frozen=True)
class Judged:
    """What is told of a checkpoint."""

    step: int
    kernel_distance: float
    """Unbiased; the smallest is chosen."""
    one_nn_accuracy: float
    """0.5: painted slices are not told apart; 1: always."""
    nearness: float
    """Median distance of painted to real slices of learned patients, over that of unseen patients; 1: no memory."""
    chance: float
    """How likely distances this much smaller are by chance: Mann and Whitney's one-sided p, a slice being a unit."""

    def memorises(self, limit: float) -> bool:
        """Whether the weights know their patients: `nearness` below the limit, and not by chance."""
        return self.nearness < limit and self.chance < CHANCE

    def row(self) -> dict[str, float]:
        """As a row of the plots' table."""
        return asdict(self)


def _haar(images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """[slice, channel, x, y] → details of every level, [direction, slice, channel, x, y], and what is left."""
    details, low = [], np.asarray(images, np.float64)
    for _ in range(LEVELS):
        low = low[:, :, : low.shape[2] // 2 * 2, : low.shape[3] // 2 * 2]
        a, b, c, d = low[:, :, ::2, ::2], low[:, :, 1::2, ::2], low[:, :, ::2, 1::2], low[:, :, 1::2, 1::2]
        details.append(np.stack([a - b + c - d, a + b - c - d, a - b - c + d]) / 2)
        low = (a + b + c + d) / 2
    return details, low


def wavelets(images: np.ndarray) -> np.ndarray:
    """[slice, channel, x, y] → [slice, feature]: log energies of Haar wavelets of three levels, in a coarse grid."""
    details, left = _haar(images)
    energies = [np.log(_cells(part**2) + FAINT) for level in details for part in level]
    return _table([*energies, _cells(left)])


def alike(images: np.ndarray) -> np.ndarray:
    """[slice, channel, x, y] → [slice, feature]: correlation of every two channels' wavelets, in the same grid.

    Energies alone do not tell a patient from noise as strong: channels show the same anatomy, noise is each one's own.
    """
    out, (one, other) = [], np.triu_indices(images.shape[1], 1)
    for level in _haar(images)[0]:
        shared = _cells((level[:, :, one] * level[:, :, other]).sum(axis=0))
        energy = _cells((level**2).sum(axis=0)) + FAINT
        out.append(shared / np.sqrt(energy[:, one] * energy[:, other]))
    return _table(out)


def _table(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[slice, feature]."""
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _cells(values: np.ndarray) -> np.ndarray:
    """Means over a grid of CELLS × CELLS, [slice, channel, CELLS, CELLS]."""
    for axis in (2, 3):
        parts = np.array_split(np.arange(values.shape[axis]), CELLS)
        values = np.stack([values.take(part, axis).mean(axis) for part in parts], axis)
    return values


def distances(painted: np.ndarray, real: np.ndarray, where: np.ndarray) -> np.ndarray:
    """[slice] 1 − correlation of coarse residuals [slice, channel, x, y], `where` [slice, x, y] bool was painted."""
    out = []
    for ours, theirs, here in zip(_coarse(painted, where), _coarse(real, where), where, strict=True):
        a, b = ours[:, here], theirs[:, here]
        a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
        out.append(1 - float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-9)))
    return np.array(out)


def _coarse(residuals: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Residuals averaged over the pixels nearby that were painted."""
    painted, sigmas = where[:, None].astype(np.float32), (0, 0, COARSE, COARSE)
    weight = np.maximum(ndimage.gaussian_filter(painted, sigmas), 1e-3)
    return np.asarray(ndimage.gaussian_filter(residuals * painted, sigmas) / weight)


@dataclass(frozen=True)
class Shown:
    """Slices that were painted, and the real ones; arrays [slice, …]."""

    painted: np.ndarray
    """Residuals [slice, channel, x, y]."""
    real: np.ndarray
    condition: np.ndarray
    """Its last plane is where was painted."""
    patient: np.ndarray

    def images(self, residuals: np.ndarray) -> np.ndarray:
        """Residuals on what they were painted on."""
        return image_of(residuals, self.condition)

    def apart(self) -> np.ndarray:
        """[slice] distances of painted to real residuals."""
        return distances(self.painted, self.real, self.condition[:, -1] > 0)


def judge(step: int, learned: Shown, unseen: Shown) -> Judged:
    """Judge a checkpoint by what it painted for maps of learned and of unseen patients."""
    images = (unseen.images(part) for part in (unseen.painted, unseen.real))
    ours, real = (np.concatenate([wavelets(part), alike(part)], axis=1) for part in images)
    spread = np.maximum(real.std(axis=0), STEADIEST)
    ours, real = ((part - real.mean(axis=0)) / spread for part in (ours, real))
    told = one_nn_accuracy(ours, real, unseen.patient, unseen.patient)
    apart = kernel_distance(ours, real)
    near, far = learned.apart(), unseen.apart()
    return Judged(
        step=step,
        kernel_distance=float("nan") if apart is None else apart,
        one_nn_accuracy=float("nan") if told is None else told,
        nearness=float(np.median(near) / max(np.median(far), 1e-9)),
        chance=float(stats.mannwhitneyu(near, far, alternative="less").pvalue),
    )
