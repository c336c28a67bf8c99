"""Training slices of learned painters, as a pure function of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from synthgate.cohort.store import Store, StoredCase
from synthgate.generators.learned.conditions import Conditions

UNTOLD = 0.1
"""Share of slices whose attributes are not told, so that guidance has something to compare with."""
CHANCES = 8


@dataclass(frozen=True)
class Slices:
    """Slices of some training cases with their conditions."""

    store: Store
    cases: Sequence[StoredCase]
    maps: Sequence[np.ndarray]
    """Label map of each case, [x, y, slice]."""
    tables: Sequence[np.ndarray]
    """Style of each case, [256, channel]."""
    conditions: Conditions
    seed: int

    def index(self) -> np.ndarray:
        """[slice, (case, plane)] of all slices with a head."""
        return np.concatenate(
            [
                np.stack([np.full(len(hits), number), hits], axis=1)
                for number, codes in enumerate(self.maps)
                if len(hits := np.flatnonzero(codes.any(axis=(0, 1))))
            ]
        )

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals [slice, channel, x, y], conditions [slice, plane, x, y] and classes [slice] of rows of `index`."""
        residuals, planes, groups = [], [], []
        for number, plane in rows:
            told = self.conditions.planes(self.maps[number][None, :, :, plane], self.tables[number])[0]
            image = np.asarray(self.store.planes(self.cases[number])[0][plane], np.float32)
            residuals.append((image - told[: len(image)]) * told[-1])
            planes.append(told)
            groups.append(self.conditions.group(self.cases[number].attributes))
        return np.stack(residuals), np.stack(planes), np.array(groups)


class Drawn(NamedTuple):
    """One step's batch; tensors [slice, …]."""

    residual: Tensor
    """[slice, channel, x, y], of unit spread over all slices."""
    condition: Tensor
    group: Tensor
    """Classes."""
    noise: Tensor
    """As the residual, N(0, 1)."""
    uniform: Tensor
    """[slice, CHANCES] in 0..1, for whatever else a step leaves to chance."""


class Batches:
    """The batch of any step: some slices, half of them mirrored, some without attributes; and the step's chances."""

    def __init__(self, slices: Slices, size: int, spread: float) -> None:
        self.slices, self.size, self.spread = slices, size, spread
        self._index = slices.index()

    def __call__(self, step: int, rank: int = 0, ranks: int = 1) -> Drawn:
        """The batch of a step; of `ranks` devices each takes its part, and all together the whole."""
        rng = np.random.default_rng([self.slices.seed, step])
        rows = self._index[rng.integers(len(self._index), size=self.size)]
        mirrored, untold = rng.random(self.size) < 0.5, rng.random(self.size) < UNTOLD
        uniform = rng.random((self.size, CHANCES), np.float32)
        channels = len(self.slices.store.channels)
        noise = rng.standard_normal((self.size, channels, *self.slices.store.size), np.float32)
        mine = np.arange(self.size)[rank::ranks]
        residual, condition, group = self.slices.take(rows[mine])
        for part in (residual, condition):
            part[mirrored[mine]] = part[mirrored[mine], :, ::-1]
        parts = (
            residual / np.float32(self.spread), condition, np.where(untold[mine], 0, group), noise[mine], uniform[mine]
        )  # fmt: skip
        return Drawn(*map(torch.from_numpy, parts))
