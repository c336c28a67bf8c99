"""The learned copy encoder: thumbnails of one patient close together, those of different patients apart.

A small 3D network trained with NT-Xent (SimCLR, 2002.05709) on two augmented views of each patient's thumbnail. Its
embedding keeps the layout of the head (a feature map, not a pooled vector): with some dozens of patients, what
generalises to unseen ones is the local filters. Cross-fitted by patient, since NT-Xent pushes those it saw apart.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgate.learning import weights
from synthgate.params import Encoder
from synthgate.scratch import Scratch

BLUR = (7, 7, 5)
"""Box, in thumbnail voxels, whose mean is taken off: contrast between tissues at large identifies nobody."""
MAX_ROTATION = math.radians(12)
MAX_LOG_SCALE = 0.16
MAX_SHIFT = 0.1
"""Of half the thumbnail."""
BENDS = (4, 5, 3)
MAX_BEND = 0.08
"""Elastic displacements: standard deviation up to this share of half the thumbnail, at so many knots."""
KNOTS = 5
MAX_LOG_GAMMA = 0.6
MAX_NOISE = 0.12
CUT = 0.3
"""Share of views with a box cut out."""
BATCH = 64
"""Thumbnails embedded at a time."""


class Network(nn.Module):
    """[case, channel, x, y, z] fine structure → [case, feature] of unit length."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(channels, width, (5, 5, 3), stride=2, padding=(2, 2, 1)),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.Conv3d(width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(4, 2 * width),
            nn.ReLU(),
            nn.Conv3d(2 * width, 2 * width, 3, stride=(2, 2, 1), padding=1),
            nn.GroupNorm(4, 2 * width),
            nn.ReLU(),
            nn.Conv3d(2 * width, 8, 1),
        )

    def forward(self, fine: Tensor) -> Tensor:
        """Embed."""
        return functional.normalize(self.layers(fine).flatten(1), dim=1)


def nt_xent(views: Tensor, others: Tensor, temperature: float) -> Tensor:
    """NT-Xent of unit embeddings [case, feature] of two views of the same cases (2002.05709, eq. 1)."""
    both = torch.cat([views, others])
    logits = both @ both.T / temperature
    logits = logits.masked_fill(torch.eye(len(both), dtype=torch.bool), -math.inf)
    partner = torch.arange(len(both)).roll(len(views))
    return functional.cross_entropy(logits, partner)


def fine_structure(images: Tensor) -> Tensor:
    """[case, channel, *grid] from 0 to 1 → without its local mean, unit spread per channel, 0 outside the head."""
    head = (images > 0).any(1, keepdim=True).float()
    both = torch.cat([images * head, head], 1)
    x, y, z = (_windows(length, side) for length, side in zip(images.shape[2:], BLUR, strict=True))
    # three products, several times as fast as pooling
    both = torch.einsum("ij,bcjk->bcik", x, (y @ (both @ z)).flatten(3)).reshape(both.shape)
    mean = both[:, :-1] / both[:, -1:].clamp_min(1e-3)
    # the rim is the head's outline, which heads share
    inner = head
    for axis in (2, 3, 4):
        first, last = inner.narrow(axis, 0, 1) * 0, inner.shape[axis]
        padded = torch.cat([first, inner, first], axis)
        inner = torch.minimum(torch.minimum(padded.narrow(axis, 0, last), inner), padded.narrow(axis, 2, last))
    fine = (images - mean) * inner
    spread = (fine.square().sum((2, 3, 4), keepdim=True) / inner.sum((2, 3, 4), keepdim=True).clamp_min(1)).sqrt()
    return torch.tanh(fine / (2 * spread.clamp_min(1e-3)))


def _windows(length: int, side: int) -> Tensor:
    """[place, place] that sums a line over windows of `side`, in shares of the window."""
    place = torch.arange(length)
    return ((place[:, None] - place[None]).abs() <= side // 2).float() / side


def augmented(images: Tensor, rng: np.random.Generator) -> Tensor:
    """A view of each thumbnail [case, channel, *grid] as a copy might look: moved, bent, recoloured, noisy, cut."""
    count, channels, *grid = images.shape
    moved = functional.grid_sample(images, _places(count, grid, rng), align_corners=False)
    head = (moved > 0.02).any(1, keepdim=True)
    gamma = np.exp(rng.uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA, (count, channels, 1, 1, 1)))
    bright = moved.clamp_min(1e-4) ** torch.from_numpy(gamma).float()
    noise = rng.standard_normal(images.shape, np.float32) * rng.uniform(0, MAX_NOISE, (count, 1, 1, 1, 1))
    view = (bright + torch.from_numpy(noise.astype(np.float32))).clamp(1e-3, 1) * head
    for row in np.flatnonzero(rng.random(count) < CUT):
        size = [max(1, side // 3) for side in grid]
        start = [int(rng.integers(side - part + 1)) for side, part in zip(grid, size, strict=True)]
        x, y, z = (slice(first, first + part) for first, part in zip(start, size, strict=True))
        view[int(row), :, x, y, z] = 0
    return view


def _places(count: int, grid: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Sampling grid [case, *grid, 3]: in-plane rotation, scale and shift of each axis, flip, and a smooth bend."""
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION, count)
    matrix = np.tile(np.eye(3, 4), (count, 1, 1))  # grid_sample's order: z, y, x
    aspect = grid[0] / grid[1]
    matrix[:, 1, 1] = matrix[:, 2, 2] = np.cos(angle)
    matrix[:, 1, 2], matrix[:, 2, 1] = np.sin(angle) * aspect, -np.sin(angle) / aspect
    matrix[:, :, :3] *= np.exp(rng.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE, (count, 3)))[:, None, :]
    matrix[:, :, 2] *= rng.choice([-1.0, 1.0], count)[:, None]
    matrix[:, :, 3] = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (count, 3))
    places = functional.affine_grid(torch.from_numpy(matrix).float(), [count, 1, *grid], align_corners=False)
    bends = rng.standard_normal((count, 3, *BENDS)) * rng.uniform(0, MAX_BEND, (count, 1, 1, 1, 1))
    smooth = functional.interpolate(torch.from_numpy(bends).float(), size=tuple(grid), mode="trilinear")
    return places + smooth.permute(0, 2, 3, 4, 1)


def train(thumbnails: np.ndarray, params: Encoder, seed: int) -> tuple[Network, list[float]]:
    """Train on uint8 [patient, channel, *grid]; the same bytes for the same seed and number of threads.

    Returns it and its loss per step.
    """
    images = torch.from_numpy(thumbnails).float() / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(images.shape[1], params.width)
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, params.learning_rate, total_steps=params.steps, pct_start=0.1
    )
    curve = []
    for step in range(params.steps):
        rng = np.random.default_rng([seed, step])
        chosen = images[torch.from_numpy(rng.permutation(len(images))[: params.batch])]
        one, two = (network(fine_structure(augmented(chosen, rng))) for _ in range(2))
        loss = nt_xent(one, two, params.temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        curve.append(float(loss.detach()))
    return network.eval(), curve


def embed(network: nn.Module, thumbnails: np.ndarray) -> np.ndarray:
    """uint8 [case, channel, *grid] → float32 [case, view, feature]; the views: as it is, and mirrored.

    Zeros for a case without a channel that varies.
    """
    out = [np.zeros((0, 2, 1), np.float32)] if not len(thumbnails) else []
    with torch.inference_mode():
        for start in range(0, len(thumbnails), BATCH):
            images = torch.from_numpy(np.ascontiguousarray(thumbnails[start : start + BATCH])).float() / 255
            fine = fine_structure(images)
            told = (fine.abs().amax((1, 2, 3, 4)) > 1e-3).float()[:, None]
            out.append(torch.stack([network(view) * told for view in (fine, fine.flip(2))], 1).numpy())
    return np.concatenate(out)


def trained(scratch: Scratch, name: str, thumbnails: np.ndarray, params: Encoder, seed: int) -> Path:
    """Train in the scratch folder, or take what an earlier run finished: a folder of weights. Short, so one piece."""

    def make(folder: Path) -> None:
        folder.mkdir()
        weights.save(train(thumbnails, params, seed)[0], folder)

    return scratch.once(name, make)


def load(folders: Sequence[Path], channels: int, params: Encoder) -> list[nn.Module]:
    """Open the folds' encoders; raises ArtefactError."""
    return [weights.load(Network(channels, params.width), folder) for folder in folders]
