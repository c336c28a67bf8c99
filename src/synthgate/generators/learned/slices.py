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


class OfPatient:
    """What a private step is shown of a patient: some slices, drawn by that patient's own generator."""

    def __init__(self, slices: Slices, size: int, spread: float) -> None:
        self.slices, self.size, self.spread = slices, size, spread
        index = slices.index()
        who = np.array([slices.cases[number].patient for number, _ in index])
        self._of = {patient: index[who == patient] for patient in dict.fromkeys(who)}

    @property
    def patients(self) -> tuple[str, ...]:
        """Those who have a slice."""
        return tuple(self._of)

    def __call__(self, patient: str, rng: np.random.Generator) -> Drawn:
        """`size` slices of a patient."""
        return _drawn(self.slices, self._of[patient], self.size, self.spread, rng, slice(None))


class Batches:
    """The batch of any step: some slices, half of them mirrored, some without attributes; and the step's chances."""

    def __init__(self, slices: Slices, size: int, spread: float) -> None:
        self.slices, self.size, self.spread = slices, size, spread
        self._index = slices.index()

    def __call__(self, step: int, rank: int = 0, ranks: int = 1) -> Drawn:
        """The batch of a step; of `ranks` devices each takes its part, and all together the whole."""
        rng = np.random.default_rng([self.slices.seed, step])
        return _drawn(self.slices, self._index, self.size, self.spread, rng, slice(rank, None, ranks))


def _drawn(slices: Slices, index: np.ndarray, size: int, spread: float, rng: np.random.Generator, part: slice) -> Drawn:
    """Of `size` slices drawn from `index`, a part."""
    rows = index[rng.integers(len(index), size=size)]
    mirrored, untold = rng.random(size) < 0.5, rng.random(size) < UNTOLD
    uniform = rng.random((size, CHANCES), np.float32)
    noise = rng.standard_normal((size, len(slices.store.channels), *slices.store.size), np.float32)
    mine = np.arange(size)[part]
    residual, condition, group = slices.take(rows[mine])
    for planes in (residual, condition):
        planes[mirrored[mine]] = planes[mirrored[mine], :, ::-1]
    parts = (residual / np.float32(spread), condition, np.where(untold[mine], 0, group), noise[mine], uniform[mine])
    return Drawn(*map(torch.from_numpy, parts))
