"""Permutation nulls: exchangeable units, adjusted p by brute force, false alarms and power by simulation."""

import numpy as np
import pytest

from synthgate.stats.distances import quantile_distances_under
from synthgate.stats.nulls import relabelled, step_down


def test_relabelling_keeps_groups_whole_and_starts_with_the_observed():
    groups = np.array(["a", "a", "b", "c", "c", "d", "e"])
    batch = np.array([True, True, True, False, False, False, False])
    masks = relabelled(groups, batch, 300, np.random.default_rng(0))
    assert masks.shape == (301, 7) and (masks[0] == batch).all()
    for mask in masks:
        assert len(set(groups[mask])) == 2 and not set(groups[mask]) & set(groups[~mask])
    # each of the ten pairs of groups comes up about as often
    _, counts = np.unique(masks[1:], axis=0, return_counts=True)
    assert len(counts) == 10 and counts.min() > 10


def test_nothing_can_be_exchanged_with_a_group_on_both_sides_or_none_on_one():
    rng = np.random.default_rng(0)
    assert relabelled(["a", "a"], np.array([True, False]), 9, rng) is None
    assert relabelled(["a", "b"], np.array([True, True]), 9, rng) is None
    assert relabelled(["a", "b"], np.array([False, False]), 9, rng) is None


def test_step_down_is_that_of_westfall_and_young():
    rng = np.random.default_rng(1)
    null = rng.normal(size=(200, 4)) * [1, 10, 0.1, 1]
    null[0] = [3.4, 41.0, 0.05, -1.0]
    found = step_down(null, 0.05)
    z = (null - null.mean(0)) / null.std(0)
    order = np.argsort(-z[0])
    floor = 0.0
    for place, index in enumerate(order):
        rest = z[:, order[place:]].max(axis=1)
        floor = max(floor, float((rest >= z[0, index]).mean()))
        assert found.p[index] == pytest.approx(floor)
    assert found.p[1] <= found.p[0] <= found.p[2] <= found.p[3]


def test_above_the_limit_is_the_same_as_p_below_the_error():
    rng = np.random.default_rng(2)
    for _ in range(60):
        null = rng.normal(size=(100, 3))
        null[0] += rng.normal(1.5, 2, 3)
        found = step_down(null, 0.05)
        assert ((found.value > found.limit) == (found.p <= 0.05)).all()


def test_tolerance_raises_the_limit_by_itself_and_constants_are_never_refused():
    rng = np.random.default_rng(3)
    null = rng.normal(size=(200, 2))
    null[0, 0] = 6.0
    null[:, 1] = 2.0
    strict, lenient = step_down(null, 0.05), step_down(null, 0.05, np.array([5.0, 0.0]))
    assert lenient.limit[0] == pytest.approx(strict.limit[0] + 5)
    assert strict.p[0] <= 0.05 < lenient.p[0]
    assert strict.limit[1] == np.inf and strict.p[1] == 1


def test_false_alarms_stay_in_the_budget_and_a_shift_is_caught():
    """Sixty batches of each kind, 20 cases of 12 correlated descriptors against 60 patients."""
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(12, 12))
    refused = {"null": 0, "shifted": 0}
    for kind in refused:
        for _ in range(60):
            rows = rng.standard_t(4, size=(80, 12)) @ mixing
            if kind == "shifted":
                rows[:20, 5] += 1.5 * rows[:, 5].std()
            masks = relabelled(np.arange(80).astype(str), np.arange(80) < 20, 199, rng)
            refused[kind] += bool((step_down(quantile_distances_under(rows, masks), 0.05).p <= 0.05).any())
    assert refused["null"] <= 8  # 5 % expected; the chance of more than 8 of 60 is below 1 %
    assert refused["shifted"] == 60


def test_the_smallest_departure_is_refused_in_four_of_five_batches():
    rng = np.random.default_rng(6)
    null = rng.normal(size=(2000, 1))
    found = step_down(null, 0.05, 0.3)
    shifted = rng.normal(size=4000) + found.smallest[0]
    assert (shifted > found.limit[0]).mean() == pytest.approx(0.8, abs=0.03)
    assert ((null[1:, 0] > found.low[0]) & (null[1:, 0] < found.high[0])).mean() == pytest.approx(0.9, abs=0.01)
