"""Thumbnails: a case's head on one small grid for all, for the search of copies and for image–label tests."""

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from synthgate.features.head import box_of, head_of

GRID = (32, 40, 20)
"""Voxels of a thumbnail; the head's box is fitted into it, whatever its size and slice distance."""
SHAPE_GRID = (20, 20, 12)
"""Voxels of a lesion's shape; the lesion's own box is fitted into it."""
SMALLEST_SHAPE = 300
"""Voxels below which a lesion has no shape of its own: many patients share it."""
COARSE = 2.0
"""Gaussian sigma, in thumbnail voxels, of what a fingerprint leaves out: bias, contrast between tissues at large."""
BRIGHTEST = 1.5
"""Prepared intensity that becomes 255."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """[channel, x, y, z] prepared image → uint8 [channel, *GRID], the head's box by area averaging."""
    return _bytes(_pooled(image, head_of(image), GRID) / BRIGHTEST)


def outline(label: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The lesion on the thumbnail's grid: uint8 [*GRID], 255 where a voxel is all lesion."""
    return _bytes(_pooled((label > 0)[None].astype(np.float32), head_of(image), GRID)[0])


def shape_of(label: np.ndarray) -> np.ndarray | None:
    """The lesion's shape in its own box, uint8 [*SHAPE_GRID]; None for a lesion too small to be anybody's."""
    lesion = label > 0
    if lesion.sum() < SMALLEST_SHAPE:
        return None
    return _bytes(_pooled(lesion[None].astype(np.float32), lesion, SHAPE_GRID)[0])


def fingerprint(small: np.ndarray) -> np.ndarray:
    """uint8 [channel, *GRID] → float32 [channel, voxel]: fine structure only, each channel of unit length.

    The mean product of two fingerprints' channels is their correlation. A constant channel is all zeros.
    """
    parts = []
    whole = small.max(axis=0) > 0
    head, weight = ndimage.binary_erosion(whole), ndimage.gaussian_filter(whole.astype(np.float32), COARSE)
    for channel in small.astype(np.float32):
        # the mean over the head alone: its outline, which heads share, is no structure
        mean = ndimage.gaussian_filter(channel, COARSE) / np.maximum(weight, 0.1)
        fine = np.where(head, channel - mean, 0).ravel()
        # ranks would cost more; a soft clip keeps single bright voxels from deciding
        spread = fine[head.ravel()].std() if head.any() else 0.0
        if spread < 1e-6:
            parts.append(np.zeros_like(fine))
            continue
        fine = np.tanh(fine / (2 * spread))
        parts.append(fine / np.linalg.norm(fine))
    return np.stack(parts)


def _pooled(values: np.ndarray, inside: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    box = box_of(inside)
    if box is None:
        return np.zeros((len(values), *grid), np.float32)
    crop = torch.from_numpy(np.ascontiguousarray(values[(slice(None), *box)], dtype=np.float32))
    return functional.adaptive_avg_pool3d(crop[None], grid)[0].numpy()


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
