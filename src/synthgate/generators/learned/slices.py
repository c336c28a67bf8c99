"""What learned painters are trained on, as a pure function of the seed and the step; and that of slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from synthgate.cohort.store import Store, StoredCase
from synthgate.generators.anatomy import FIRST_CLUSTER
from synthgate.generators.learned.conditions import Conditions
from synthgate.generators.learned.inpainting import Gaps

UNTOLD = 0.1
"""Share of items whose attributes are not told, so that guidance has something to compare with."""
CHANCES = 8
STRETCH = 0.1
"""Standard deviation of the slopes that a map is read with, about those of its deformation."""


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

        Left and right change places where `mirrored` [item] says so; maps may be made `ragged` by `seeds` [item].
        """


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
        """Residuals [slice, channel, x, y], conditions [slice, plane, x, y], classes [slice]; `ragged` by `seeds`.

        With `gaps`, maps are true, as those of real heads are, and `seeds` draw the gaps; without, always the same.
        """
        residuals, planes, groups = [], [], []
        for item, (number, plane) in enumerate(rows):
            codes = self.maps[number][:, :, plane]
            rng = np.random.default_rng([number, plane] if seeds is None else seeds[item])
            if seeds is not None and self.gaps is None:
                codes = ragged(codes, rng)
            told = self.conditions.planes(codes[None], self.tables[number])[0]
            image = np.asarray(self.store.planes(self.cases[number])[0][plane], np.float32)
            if self.gaps is not None:
                told = self.conditions.within(told[None], image[None], self.gaps.region(codes, rng)[None])[0]
            residuals.append((image - told[: len(image)]) * told[-1])
            planes.append(told)
            groups.append(self.conditions.group(self.cases[number].attributes))
        return flipped(np.stack(residuals), mirrored), flipped(np.stack(planes), mirrored), np.array(groups)


def ragged(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A map [x, y] with some of its voxels read one voxel beside: a deformed anatomy, read at nearest voxels, is so.

    The reading errors of two random turns and scalings are added, times a chance.
    """
    grid = np.stack(np.meshgrid(*map(np.arange, codes.shape), indexing="ij")).astype(np.float32)
    beside = np.zeros_like(grid)
    for axis, slope in ((0, STRETCH * rng.standard_normal((2, 3))), (1, STRETCH * rng.standard_normal((2, 3)))):
        for one in slope.astype(np.float32):
            moved = one[0] * grid[0] + one[1] * grid[1] + one[2] / STRETCH
            beside[axis] += moved - np.rint(moved)
    x, y = np.rint(grid + rng.random(dtype=np.float32) * beside).astype(int)
    out: np.ndarray = codes[x.clip(0, codes.shape[0] - 1), y.clip(0, codes.shape[1] - 1)]
    return np.where((codes >= FIRST_CLUSTER) & (out >= FIRST_CLUSTER), out, codes)


def flipped(items: np.ndarray, mirrored: np.ndarray | None) -> np.ndarray:
    """Items [item, channel, x, …] with those of `mirrored` [item] bool mirrored in x, in place."""
    if mirrored is not None:
        items[mirrored] = items[mirrored, :, ::-1]
    return items


class Drawn(NamedTuple):
    """One step's batch; tensors [item, …]."""

    residual: Tensor
    """[item, channel, *space], of unit spread over all items."""
    condition: Tensor
    group: Tensor
    """Classes."""
    noise: Tensor
    """[item, channel, *space], N(0, 1); as the residual, or as an autoencoder's latent."""
    uniform: Tensor
    """[item, CHANCES] in 0..1, for whatever else a step leaves to chance."""


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
    """The batch of any step: some items, half of them mirrored, some without attributes; and the step's chances."""

    def __init__(self, source: Source, size: int, spread: float) -> None:
        self.source, self.size, self.spread = source, size, spread
        self._index = source.index()

    def __call__(self, step: int, rank: int = 0, ranks: int = 1) -> Drawn:
        """The batch of a step; of `ranks` devices each takes its part, and all together the whole."""
        rng = np.random.default_rng([self.source.seed, step])
        return _drawn(self.source, self._index, self.size, self.spread, rng, slice(rank, None, ranks))


def _drawn(source: Source, index: np.ndarray, size: int, spread: float, rng: np.random.Generator, part: slice) -> Drawn:
    """Of `size` items drawn from `index`, a part."""
    rows = index[rng.integers(len(index), size=size)]
    mirrored, untold = rng.random(size) < 0.5, rng.random(size) < UNTOLD
    uniform = rng.random((size, CHANCES), np.float32)
    noise = rng.standard_normal((size, *source.noise), np.float32)
    seeds = rng.integers(2**62, size=size)
    mine = np.arange(size)[part]
    residual, condition, group = source.take(rows[mine], mirrored[mine], seeds[mine])
    parts = (residual / np.float32(spread), condition, np.where(untold[mine], 0, group), noise[mine], uniform[mine])
    return Drawn(*map(torch.from_numpy, parts))
