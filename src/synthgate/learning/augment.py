"""Strong classical augmentation of a training batch.

As in TorchIO, parameters are drawn first and applied deterministically: the same draw gives the same batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MAX_ROTATION = np.pi / 12
MAX_LOG_SCALE = 0.2
MAX_SHEAR = 0.1
MAX_SHIFT = 0.08
"""Of half the patch."""
MAX_LOG_GAMMA = 0.5
LOG_GAIN = (-0.5, 0.3)
LACKING = 0.2
"""Share of samples in which a copy of one channel stands in for others."""


@dataclass(frozen=True)
class Draw:
    """What happens to each sample of a batch; `dims` is 2 or 3."""

    affine: np.ndarray
    """[sample, dims, dims + 1], in `grid_sample` coordinates (the last image axis comes first)."""
    gamma: np.ndarray
    """[sample, channel]"""
    gain: np.ndarray
    offset: np.ndarray
    noise: np.ndarray
    """[sample, channel] standard deviation."""
    blur: np.ndarray
    """[sample] weight of a 3-voxel mean."""
    noise_seed: int
    source: np.ndarray
    """[sample, channel] the channel whose image is shown: mostly its own."""


def draw(rng: np.random.Generator, samples: int, channels: int, dims: int) -> Draw:
    """Draw for `samples` patches: flip left-right, affine, and gamma, gain, offset, noise and blur per channel.

    Some samples show a copy of one channel in the place of others.
    """
    matrix = np.tile(np.eye(dims), (samples, 1, 1))
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION, samples)
    x, y = dims - 1, dims - 2  # in-plane axes x, y of [x, y, (z)] in grid_sample's reversed order
    matrix[:, x, x] = matrix[:, y, y] = np.cos(angle)
    matrix[:, x, y], matrix[:, y, x] = -np.sin(angle), np.sin(angle)
    shear = np.tile(np.eye(dims), (samples, 1, 1))
    shear[:, x, y] = rng.uniform(-MAX_SHEAR, MAX_SHEAR, samples)
    scale = np.exp(rng.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE, (samples, dims)))
    scale[:, x] *= rng.choice([-1.0, 1.0], samples)
    matrix = matrix @ shear * scale[:, None, :]
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (samples, dims, 1))
    each = (samples, channels)
    return Draw(
        affine=np.concatenate([matrix, shift], axis=2).astype(np.float32),
        gamma=np.exp(rng.uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA, each)),
        gain=np.exp(rng.uniform(*LOG_GAIN, each)),
        offset=rng.uniform(-0.1, 0.1, each),
        noise=rng.uniform(0, 0.06, each) * (rng.random(each) < 0.5),
        blur=rng.uniform(0, 0.8, samples) * (rng.random(samples) < 0.25),
        noise_seed=int(rng.integers(2**62)),
        source=_sources(rng, samples, channels),
    )


def _sources(rng: np.random.Generator, samples: int, channels: int) -> np.ndarray:
    """Some samples lack channels, as real cohorts do, where a copy of another one stands in for them."""
    own = np.tile(np.arange(channels), (samples, 1))
    lacking = (rng.random(samples) < LACKING)[:, None] & (rng.random((samples, channels)) < 0.5)
    return np.where(lacking, rng.integers(channels, size=samples)[:, None], own)


def apply(image: Tensor, target: Tensor, what: Draw) -> tuple[Tensor, Tensor]:
    """Augment `image` [sample, channel, *space] and `target` [sample, region, *space] (0/1 floats) alike in space."""
    grid = functional.affine_grid(torch.from_numpy(what.affine), list(image.shape), align_corners=False)
    both = functional.grid_sample(torch.cat([image, target], 1), grid, align_corners=False)
    image, target = both[:, : image.shape[1]], (both[:, image.shape[1] :] > 0.5).float()
    image = image[torch.arange(len(image))[:, None], torch.from_numpy(what.source)]
    head = (image > 0).any(1, keepdim=True)

    def shaped(value: np.ndarray) -> Tensor:
        return torch.from_numpy(value.astype(np.float32)).reshape(*value.shape, *[1] * (image.dim() - value.ndim))

    pool = functional.avg_pool2d if image.dim() == 4 else functional.avg_pool3d
    weight = shaped(what.blur)
    image = image * (1 - weight) + pool(image, 3, 1, 1) * weight
    image = image.clamp_min(1e-6) ** shaped(what.gamma) * shaped(what.gain) + shaped(what.offset)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(what.noise_seed))
    return (image + noise * shaped(what.noise)) * head, target
