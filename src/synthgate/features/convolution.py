"""A fixed random convolutional space: a second opinion that learned from nobody.

Random filters keep much of what trained ones see, and no patient can have shaped them (STATISTICS §1).
"""

import itertools
import math

import numpy as np
import torch
from torch.nn import functional

from synthgate.features.head import head_of

LEVELS = 3
SLICES = 20
"""Axial slices looked at, evenly over the head."""


class Convolution:
    """Three levels of seeded random 3×3 filters with ReLU; a case is their mean and spread over the head.

    The same seed and sizes give the same space on every machine of one torch version.
    """

    def __init__(self, channels: int, features: int, seed: int) -> None:
        self.channels = channels
        self.features = features
        width = math.ceil(features / (2 * LEVELS))
        source = torch.Generator().manual_seed(seed)
        sizes = [channels] + [width] * LEVELS
        # zero-mean filters see structure; the mean level is the descriptors' business. He's scale keeps levels alike
        filters = [torch.randn(out, into, 3, 3, generator=source) for into, out in itertools.pairwise(sizes)]
        filters[0] = filters[0] - filters[0].mean(dim=(2, 3), keepdim=True)
        self.filters = [weight * math.sqrt(2 / (9 * weight.shape[1])) for weight in filters]

    def embed(self, image: np.ndarray) -> np.ndarray:
        """[channel, x, y, z] float32, 0 outside the head → [features] float64; zeros for an image without a head."""
        if len(image) != self.channels:
            raise ValueError(f"this space was made for {self.channels} channels, got an image of {len(image)}")
        head = head_of(image)
        hits = np.flatnonzero(head.any(axis=(0, 1)))
        if not len(hits):
            return np.zeros(self.features)
        chosen = np.unique(np.linspace(hits[0], hits[-1], SLICES).round().astype(int))
        planes = torch.from_numpy(np.ascontiguousarray(image[..., chosen].transpose(3, 0, 1, 2), dtype=np.float32))
        mask = torch.from_numpy(head[..., chosen].transpose(2, 0, 1)[:, None].astype(np.float32))
        moments: list[torch.Tensor] = []
        with torch.inference_mode():
            for weight in self.filters:
                planes = functional.relu(functional.conv2d(planes, weight, padding=1))
                total = mask.sum().clamp(min=1)
                mean = (planes * mask).sum(dim=(0, 2, 3)) / total
                spread = ((planes - mean[:, None, None]) ** 2 * mask).sum(dim=(0, 2, 3)) / total
                moments += [mean, spread.sqrt()]
                planes, mask = functional.avg_pool2d(planes, 2), functional.max_pool2d(mask, 2)
        return torch.cat(moments).double().numpy()[: self.features]
