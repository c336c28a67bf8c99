"""Smooth random fields, for deformations, bias and texture."""

import numpy as np


def smooth_noise(shape: tuple[int, ...], knots: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A Gaussian field [x, y, z] float32 of mean 0 and variance 1 everywhere, that varies between `knots` per axis.

    White noise on the knots, spread by a Gaussian kernel along each axis in turn.
    """
    field = rng.standard_normal(knots, np.float32)
    for axis, (size, count) in enumerate(zip(shape, knots, strict=True)):
        at = np.linspace(0, count - 1, size)[:, None] - np.arange(count)
        kernel = np.exp(-2 * at**2)
        kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))
        field = np.moveaxis(np.tensordot(kernel.astype(np.float32), field, (1, axis)), 0, axis)
    return np.ascontiguousarray(field)
