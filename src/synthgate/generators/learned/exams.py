"""What a checkpoint is asked to paint, to be judged by it: some slices, or the middle slices of some volumes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from synthgate.generators.learned import diffusion
from synthgate.generators.learned.criterion import Shown
from synthgate.generators.learned.latent import Space
from synthgate.generators.learned.painter import paint
from synthgate.generators.learned.slices import Slices
from synthgate.generators.learned.volumes import Volumes
from synthgate.params import Diffusion, Learned

EACH = 4
"""Slices of a volume: few, so that there are many patients."""


class Exam(Protocol):
    """Some items of known patients."""

    def shown(self, network: nn.Module, params: Learned) -> Shown:
        """What the network paints for them, and what is really there."""


@dataclass(frozen=True)
class Sliced:
    """Slices painted each by itself; arrays [slice, …]."""

    real: np.ndarray
    condition: np.ndarray
    group: np.ndarray
    patient: np.ndarray

    @classmethod
    def of(cls, slices: Slices, count: int) -> "Sliced":
        """Slices spread evenly over the patients, from those with much of the head in them."""
        index = slices.index()
        area = np.array([(slices.maps[number][:, :, plane] > 0).sum() for number, plane in index])
        large = index[area > np.median(area)]
        rows = large[np.linspace(0, len(large) - 1, min(count, len(large))).round().astype(int)]
        residual, condition, group = slices.take(rows)
        return cls(residual, condition, group, np.array([slices.cases[n].patient for n, _ in rows]))

    def shown(self, network: nn.Module, params: Learned) -> Shown:
        """Painted from noise of its own, always the same."""
        device = next(network.parameters()).device
        condition, group = torch.from_numpy(self.condition).to(device), torch.from_numpy(self.group).to(device)
        rng = np.random.default_rng([0, len(self.group)])
        painted = paint(network, params, condition, group, lambda: diffusion.plain(rng, condition, self.real.shape[1]))
        return Shown(painted.float().cpu().numpy(), self.real, self.condition, self.patient)


@dataclass(frozen=True)
class Middles:
    """Slices from the middle of volumes that are painted whole."""

    volumes: Volumes
    numbers: np.ndarray
    """Of the volumes."""
    space: Space

    @classmethod
    def of(cls, volumes: Volumes, count: int, space: Space) -> "Middles":
        """As many volumes, evenly over the patients, as have `count` slices together."""
        index = volumes.index()
        some = np.linspace(0, len(index) - 1, min(-(-count // EACH), len(index))).round().astype(int)
        return cls(volumes, index[some], space)

    def shown(self, network: nn.Module, params: Learned) -> Shown:
        """Painted from noise of its own, always the same; a volume at a time is in memory."""
        assert isinstance(params, Diffusion)
        parts: list[tuple[np.ndarray, ...]] = []
        for number in self.numbers:
            residual, condition, group = (part[0] for part in self.volumes.take(np.array([number])))
            area = condition[-1].sum((0, 1))
            large = np.flatnonzero(area >= np.median(area[area > 0]))
            planes = large[np.linspace(0, len(large) - 1, min(EACH, len(large))).round().astype(int)]
            rng = np.random.default_rng([0, int(number)])
            painted = self.space.sample(network, condition, int(group), params, rng)
            patient = np.full(len(planes), self.volumes.slices.cases[number].patient)
            parts.append((*(np.moveaxis(v[..., planes], -1, 0) for v in (painted, residual, condition)), patient))
        return Shown(*(np.concatenate(some) for some in zip(*parts, strict=True)))
