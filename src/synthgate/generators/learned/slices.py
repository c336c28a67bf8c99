"""What learned painters are trained on, as a pure function of the seed and the step; and that of slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from synthgate.cohort.store import Store, StoredCase
from synthgate.generators.learned.conditions import Conditions, residual_of
from synthgate.generators.learned.inpainting import Gaps

UNTOLD = 0.1
"""Share of items whose attributes are not told, so that guidance has something to compare with."""
CHANCES = 8


class Source(Protocol):
    """Items with their conditions: slices, volumes or latents of volumes."""

    @property
    def seed(self) -> int:
        """Of all batches."""

    @property
    def noise(self) -> tuple[int, ...]:
        """Shape of an item's noise, [channel, *space]."""

    def index(self) -> np.ndarray:
        """A row for each item."""

    def take(
        self, rows: np.ndarray, mirrored: np.ndarray, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals [item, channel, *space], conditions [item, plane, *space] and classes [item] of rows of `index`.

        Left and right change places where `mirrored` [item] says so; `seeds` [item] are for what else is random.
        """


@dataclass(frozen=True)
class Slices:
    """Slices of some training cases with their conditions."""

    store: Store
    cases: Sequence[StoredCase]
    maps: Sequence[np.ndarray]
    """Label map of each case, [x, y, slice]."""
    tables: Sequence[np.ndarray]
    """Style of each case, [256, 2 channel]."""
    conditions: Conditions
    seed: int
    gaps: Gaps | None = None
    """Where given, only these are painted."""

    @property
    def noise(self) -> tuple[int, ...]:
        """[channel, x, y], as the residual's."""
        return len(self.store.channels), *self.store.size

    def index(self) -> np.ndarray:
        """[slice, (case, plane)] of all slices with a head."""
        return np.concatenate(
            [
                np.stack([np.full(len(hits), number), hits], axis=1)
                for number, codes in enumerate(self.maps)
                if len(hits := np.flatnonzero(codes.any(axis=(0, 1))))
            ]
        )

    def take(
        self, rows: np.ndarray, mirrored: np.ndarray | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals [slice, channel, x, y], conditions [slice, plane, x, y] and classes [slice].

        With `gaps`, `seeds` draw them; without seeds they are always the same.
        """
        residuals, planes, groups = [], [], []
        for item, (number, plane) in enumerate(rows):
            codes = self.maps[number][:, :, plane]
            told = self.conditions.planes(codes[None], self.tables[number])[0]
            image = np.asarray(self.store.planes(self.cases[number])[0][plane], np.float32)
            if self.gaps is not None:
                rng = np.random.default_rng([number, plane] if seeds is None else seeds[item])
                told = self.conditions.within(told[None], image[None], self.gaps.region(codes, rng)[None])[0]
            residuals.append(residual_of(image, told))
            planes.append(told)
            groups.append(self.conditions.group(self.cases[number].attributes))
        return flipped(np.stack(residuals), mirrored), flipped(np.stack(planes), mirrored), np.array(groups)


def flipped(items: np.ndarray, mirrored: np.ndarray | None) -> np.ndarray:
    """Items [item, channel, x, …] with those of `mirrored` [item] bool mirrored in x, in place."""
    if mirrored is not None:
        items[mirrored] = items[mirrored, :, ::-1]
    return items


class Drawn(NamedTuple):
    """One step's batch; tensors [item, …]."""

    residual: Tensor
    """[item, channel, *space], of about unit spread."""
    condition: Tensor
    group: Tensor
    """Classes."""
    noise: Tensor
    """[item, channel, *space], N(0, 1); as the residual, or as an autoencoder's latent."""
    uniform: Tensor
    """[item, CHANCES] in 0..1, for whatever else a step leaves to chance."""


class OfPatient:
    """What a private step is shown of a patient: some slices, drawn by that patient's own generator."""

    def __init__(self, slices: Slices, size: int) -> None:
        self.slices, self.size = slices, size
        index = slices.index()
        who = np.array([slices.cases[number].patient for number, _ in index])
        self._of = {patient: index[who == patient] for patient in dict.fromkeys(who)}

    @property
    def patients(self) -> tuple[str, ...]:
        """Those who have a slice."""
        return tuple(self._of)

    def __call__(self, patient: str, rng: np.random.Generator) -> Drawn:
        """`size` slices of a patient."""
        return _drawn(self.slices, self._of[patient], self.size, rng, slice(None))


class Batches:
    """The batch of any step: some items, half of them mirrored, some without attributes; and the step's chances."""

    def __init__(self, source: Source, size: int) -> None:
        self.source, self.size = source, size
        self._index = source.index()

    def __call__(self, step: int, rank: int = 0, ranks: int = 1) -> Drawn:
        """The batch of a step; of `ranks` devices each takes its part, and all together the whole."""
        rng = np.random.default_rng([self.source.seed, step])
        return _drawn(self.source, self._index, self.size, rng, slice(rank, None, ranks))


def _drawn(source: Source, index: np.ndarray, size: int, rng: np.random.Generator, part: slice) -> Drawn:
    """Of `size` items drawn from `index`, a part."""
    rows = index[rng.integers(len(index), size=size)]
    mirrored, untold = rng.random(size) < 0.5, rng.random(size) < UNTOLD
    uniform = rng.random((size, CHANCES), np.float32)
    noise = rng.standard_normal((size, *source.noise), np.float32)
    seeds = rng.integers(2**62, size=size)
    mine = np.arange(size)[part]
    residual, condition, group = source.take(rows[mine], mirrored[mine], seeds[mine])
    parts = (residual, condition, np.where(untold[mine], 0, group), noise[mine], uniform[mine])
    return Drawn(*map(torch.from_numpy, parts))
