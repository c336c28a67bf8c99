"""Sub-batches with one case per donor, and the common space that batch and reference are compared in."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Outcome
from synthgate.params import Gate
from synthgate.stats.nulls import Adjusted, relabelled

SPACES = ("descriptors", "radiomics", "convolution", "own")


class Figures(TypedDict):
    """The numbers of a finding."""

    value: float
    limit: float | None
    null: tuple[float, float]
    smallest: float | None


SHARED = 0.9
"""Of cases that must have a column for it to be compared; patients without a lesion lack some."""


def spaces(table: Measured) -> tuple[str, ...]:
    """The spaces a case was measured in: all of SPACES but a user's own where there is none."""
    return tuple(name for name in SPACES if table.space(name).shape[1])


def draws(batch: Measured, reference: Measured, params: Gate) -> list[np.ndarray]:
    """Indices of sub-batches: one case per donor, at most a third of the reference patients, `params.draws` times."""
    groups = np.unique(batch.group)
    size = max(1, min(len(groups), len(np.unique(reference.group)) // 3))
    out = []
    for draw in range(params.draws):
        rng = np.random.default_rng([params.seed, draw])
        chosen = rng.permutation(groups)[:size]
        out.append(np.array([rng.choice(np.flatnonzero(batch.group == group)) for group in chosen], int))
    return out


def labels(count: int, reference: Measured, params: Gate, draw: int, error: float) -> np.ndarray | None:
    """Relabellings bool [1 + permutation, count + reference case]: which rows are the batch; reference groups whole.

    A sub-batch's cases are exchanged one by one, since each is of another donor; a donor is told from the reference
    patient they also are. None where nothing could be refused at this error: a single case, or too few relabellings.
    """
    patients = len(np.unique(reference.group))
    if count < 2 or patients < 2 or min(1 + params.permutations, math.comb(count + patients, count)) * error < 1:
        return None
    groups = np.concatenate([[f"batch-{i}" for i in range(count)], reference.group])
    ours = np.arange(len(groups)) < count
    return relabelled(groups, ours, params.permutations, np.random.default_rng([params.seed, draw, 1]))


@dataclass(frozen=True)
class Space:
    """Columns standardised on the pooled rows (blind to the label), then principal components."""

    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, pooled: np.ndarray, components: int) -> "Space":
        """From pooled rows [case, feature]; columns that are constant, or that too few cases have, are left out."""
        known = np.where(np.isfinite(pooled), pooled, np.nan)
        shared = np.flatnonzero(np.isfinite(pooled).mean(axis=0) >= SHARED)
        kept = shared[np.nanstd(known[:, shared], axis=0) > 1e-12]
        centre, scale = np.nanmean(known[:, kept], axis=0), np.nanstd(known[:, kept], axis=0)
        blank = cls(centre, scale, np.eye(len(kept)), kept)
        placed = blank(pooled)
        _, _, axes = np.linalg.svd(placed[np.isfinite(placed).all(axis=1)], full_matrices=False)
        return dataclasses.replace(blank, axes=axes[:components])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[case, feature] → [case, component].

        A column that a case lacks counts as the pooled mean; a case that lacks most of them is undefined (NaN).
        """
        part = (rows[:, self.kept] - self.centre) / self.scale
        known = np.isfinite(part)
        part = np.where(known, part, 0.0)
        part[known.sum(axis=1) < known.shape[1] / 2] = np.nan
        return part @ self.axes.T


def placed(batch: Measured, reference: Measured, components: int) -> tuple[Measured, Measured]:
    """The cases and the patients that have most of the numbers which patients have, in every space.

    By the patients alone: what most cases of a batch lack would else not be missed in any of them.
    """
    there = np.ones(len(batch) + len(reference), bool)
    for name in spaces(batch):
        rows = np.concatenate([batch.space(name), reference.space(name)])
        there &= np.isfinite(Space.of(reference.space(name), components)(rows)).all(axis=1)
    return batch.rows(there[: len(batch)]), reference.rows(there[len(batch) :])


def outcome(p: float, limit: float, error: float) -> Outcome:
    """Of one adjusted statistic; without a limit it had no spread, and says nothing."""
    if not np.isfinite(limit):
        return "undefined"
    return "failed" if p <= error else "passed"


def figures(found: Adjusted, index: int, sign: float = 1.0) -> Figures:
    """What a finding tells of one adjusted statistic; `sign` −1 for a value that is bad where it is small."""
    limit, smallest = float(found.limit[index]), float(found.smallest[index])
    known = bool(np.isfinite(limit))
    low, high = sorted((sign * float(found.low[index]), sign * float(found.high[index])))
    return {
        "value": sign * float(found.value[index]),
        "limit": sign * limit if known else None,
        "null": (low, high),
        "smallest": smallest if known else None,
    }


def median_of(results: list[Adjusted]) -> Adjusted:
    """The median over draws, statistic by statistic."""
    parts = {name: np.median([vars(r)[name] for r in results], axis=0) for name in vars(results[0])}
    return Adjusted(**parts)
