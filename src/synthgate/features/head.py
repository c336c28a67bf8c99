"""The head within a prepared image, and its bounding box."""

import numpy as np


def head_of(image: np.ndarray) -> np.ndarray:
    """[x, y, z] bool from a prepared image [channel, x, y, z] that is 0 outside the head.

    A voxel that is dark in every channel still belongs to the head where the head encloses it along x and along y
    within its slice.
    """
    bright = np.any(image > 0, axis=0)
    return bright | (_between(bright, 0) & _between(bright, 1))


def _between(mask: np.ndarray, axis: int) -> np.ndarray:
    forward = np.maximum.accumulate(mask, axis=axis)
    backward = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis=axis), axis)
    return forward & backward


def box_of(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box that holds a mask, one slice per axis; None for an empty mask."""
    if not mask.any():
        return None
    slices = []
    for axis in range(mask.ndim):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        slices.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return tuple(slices)
