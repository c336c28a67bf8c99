"""Neighbours, always from another patient; k-nearest-neighbour measures of fidelity and variety.

Groups are patients (or donor groups). A measure that is undefined at these sizes is None.
"""

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from synthgate.stats import balls
from synthgate.stats.distances import pairwise

Groups = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class Nearest:
    """For each row: the nearest row of another group, and the nearest of a group other than that one's.

    Distances are inf and indices −1 where there is no such row.
    """

    first: np.ndarray
    first_index: np.ndarray
    second: np.ndarray
    second_index: np.ndarray


def nearest_two(distances: np.ndarray, own: Groups, others: Groups) -> Nearest:
    """Nearest and second patient for each row of `distances` [n, m]; `own` [n] and `others` [m] are groups."""
    own, others = np.asarray(own), np.asarray(others)
    allowed = np.where(own[:, None] == others[None], np.inf, distances)
    first, d1 = _argmin(allowed)
    if len(others):
        allowed[others[first][:, None] == others[None]] = np.inf
    second, d2 = _argmin(allowed)
    return Nearest(d1, first, d2, second)


def _argmin(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not distances.shape[1]:
        return np.full(len(distances), -1), np.full(len(distances), np.inf)
    index = distances.argmin(axis=1)
    value = np.take_along_axis(distances, index[:, None], axis=1)[:, 0]
    return np.where(np.isfinite(value), index, -1), value


def distance_ratios(near: Nearest) -> np.ndarray | None:
    """NNDR: d1/d2 per row, d2 from another patient than d1. Near 0 is suspicious; 1 where both are 0.

    None where a row has fewer than two patients to compare with.
    """
    if not len(near.first) or not np.isfinite(near.second).all():
        return None
    return np.where(near.second > 0, near.first / np.where(near.second > 0, near.second, 1), 1.0)


def one_nn_accuracy(a: np.ndarray, b: np.ndarray, groups_a: Groups, groups_b: Groups) -> float | None:
    """Class-balanced 1-NN two-sample accuracy, each row's own patient left out. 0.5: alike; 1: separable.

    None where a sample has fewer than two groups.
    """
    if len(set(groups_a)) < 2 or len(set(groups_b)) < 2:
        return None
    points = np.concatenate([a, b])
    groups = np.concatenate([np.asarray(groups_a), np.asarray(groups_b)])
    source = np.repeat([0, 1], [len(a), len(b)])
    near = nearest_two(pairwise(points, points), groups, groups)
    hit = source[near.first_index] == source
    return float((hit[source == 0].mean() + hit[source == 1].mean()) / 2)


def nearest_ratio(train: np.ndarray, unseen: np.ndarray, groups_train: Groups, groups_unseen: Groups) -> float | None:
    """median d(unseen → nearest training patient) / median d(training → nearest other training patient).

    About 1: unseen patients are as individual as training patients. None where undefined.
    """
    if not len(unseen) or len(set(groups_train)) < 2:
        return None
    among = nearest_two(pairwise(train, train), groups_train, groups_train).first
    across = nearest_two(pairwise(unseen, train), groups_unseen, groups_train).first
    middle = float(np.median(among))
    if middle <= 0 or not np.isfinite(across).all():
        return None
    return float(np.median(across)) / middle


@dataclass(frozen=True)
class Neighbourhood:
    """Precision and recall (1904.06991), density and coverage (2002.09797)."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhood(real: np.ndarray, fake: np.ndarray, k: int) -> Neighbourhood | None:
    """The four measures from balls to the k-th neighbour within the own set; None for a set of at most k cases.

    None also where all balls of a set have radius 0 (identical cases), for then nothing can lie inside, and where a
    number is not finite. Exact, in memory of the order of the sets.
    """
    if k < 1 or min(len(real), len(fake)) <= k or (samples := balls.in_one_unit(real, fake)) is None:
        return None
    centre = np.concatenate(samples).mean(axis=0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # a sample of a single tile is done before a thread has started
        run = pool.map if max(len(real), len(fake)) > balls.TILE else map
        real_radii, fake_radii = run(balls.radii, samples, (k, k))
        if not real_radii.any() or not fake_radii.any():
            return None
        one, two = (balls.Points.of(part, centre) for part in samples)
        around = functools.partial(balls.inside, one, two, real_radii, fake_radii)
        counts, hit, within = zip(*run(around, balls.tiles(len(real))), strict=True)
    found = np.sum(counts, axis=0)
    return Neighbourhood(
        precision=float((found > 0).mean()),
        recall=float(np.concatenate(within).mean()),
        density=float(found.mean() / k),
        coverage=float(np.concatenate(hit).mean()),
    )
