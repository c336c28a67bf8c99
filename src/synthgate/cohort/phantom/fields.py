"""The sampling grid and smooth random fields on it: the raw material of every individual difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

Field = np.ndarray
"""[x, y, z] float32."""


@dataclass(frozen=True)
class Grid:
    """A lattice in RAS world millimetres."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    """World position of voxel (0, 0, 0)."""

    @property
    def affine(self) -> np.ndarray:
        """[4, 4] float64, voxel to mm."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000

    def axes_mm(self) -> list[np.ndarray]:
        """World coordinate along each axis, float32, ready to broadcast against [x, y, z]."""
        axes = [o + s * np.arange(n) for n, s, o in zip(self.shape, self.spacing_mm, self.origin_mm, strict=True)]
        return list(np.ix_(*[axis.astype(np.float32) for axis in axes]))

    def index(self, world_mm: np.ndarray) -> np.ndarray:
        """World mm [3, x, y, z] to fractional voxel index [3, x, y, z]."""
        return (world_mm - vector(self.origin_mm)) / vector(self.spacing_mm)


def vector(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Three numbers as [3, 1, 1, 1] float32, to compute with fields of vectors [3, x, y, z]."""
    return np.asarray(values, np.float32).reshape(3, 1, 1, 1)


def smooth_noise(rng: np.random.Generator, grid: Grid, sigma_mm: float) -> Field:
    """A zero-mean, unit-variance random field, about as smooth as white noise under a Gaussian of `sigma_mm`.

    Random coefficients of cubic B-splines on a coarse lattice; the three axes are separable, so this is three small
    matrix products instead of a filter over the volume.
    """
    weights = [_splines(n, s, sigma_mm) for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    values = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for weight in weights:
        # contracts the leading axis and appends the fine one: after three turns the order is x, y, z again
        values = np.tensordot(values, weight, axes=(0, 1))
    return np.ascontiguousarray(values)


@cache
def _splines(count: int, spacing_mm: float, sigma_mm: float) -> np.ndarray:
    """[count, knots] values of the cubic B-splines at the voxels, rows of unit norm (unit variance of the field)."""
    # a cubic B-spline has a standard deviation of sqrt(1/3) knot distances
    knot_mm = max(sigma_mm * np.sqrt(3.0), spacing_mm)
    position = np.arange(count) * spacing_mm / knot_mm + 1.0
    knots = np.arange(int(position[-1]) + 3)
    distance = np.abs(position[:, None] - knots[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    weight = np.where(distance < 1, inner, outer)
    return (weight / np.linalg.norm(weight, axis=1, keepdims=True)).astype(np.float32)


def sigmoid(values: Field) -> Field:
    """The logistic function, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))
