"""Intervals against scipy, and the two-way interval's coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from synthgate.stats.intervals import difference, paired, t_interval, two_way


def test_t_interval_paired_and_welch_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 14), rng.normal(0, 1, 14)
    low, high = stats.t.interval(0.9, 13, a.mean(), stats.sem(a))
    found = t_interval(a, 0.9)
    assert (found.low, found.high) == pytest.approx((low, high))
    expected = stats.ttest_rel(a, b).confidence_interval(0.9)
    assert (paired(a, b, 0.9).low, paired(a, b, 0.9).high) == pytest.approx(tuple(expected))
    expected = stats.ttest_ind(a, b[:9], equal_var=False).confidence_interval(0.9)
    found = difference(a, b[:9], 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_patient_is_undefined_and_nan_is_refused():
    assert t_interval(np.array([1.0]), 0.95) is None
    assert two_way(np.ones((1, 3)), 0.95) is None
    assert difference(np.ones(3), np.ones(1), 0.95) is None
    with pytest.raises(ValueError, match="finite"):
        t_interval(np.array([1.0, np.nan]), 0.95)
    with pytest.raises(ValueError, match=r"\[patient, draw\]"):
        two_way(np.ones(3), 0.95)


def test_identical_values_give_an_interval_of_no_width():
    for found in (
        t_interval(np.ones(4), 0.95),
        difference(np.ones(4), np.ones(3), 0.95),
        two_way(np.ones((4, 3)), 0.95),
    ):
        assert found.low == found.high == found.mean


def test_one_draw_is_students_interval_over_patients():
    y = np.random.default_rng(1).normal(size=(11, 1))
    assert two_way(y, 0.95) == t_interval(y[:, 0], 0.95)


def test_two_way_covers_where_patients_alone_do_not():
    """15 patients (SD 0.06), 3 draws (SD 0.06), error SD 0.08; and without any effect of the draw."""
    rng = np.random.default_rng(2)
    runs, hit, naive, none = 1500, 0, 0, 0
    for _ in range(runs):
        patients = rng.normal(0, 0.06, (15, 1))
        noise = rng.normal(0, 0.08, (15, 3))
        found = two_way(patients + rng.normal(0, 0.06, (1, 3)) + noise, 0.95)
        alone = t_interval((patients + rng.normal(0, 0.06, (1, 3)) + noise).mean(axis=1), 0.95)
        hit += found.low <= 0 <= found.high
        naive += alone.low <= 0 <= alone.high
        without = two_way(patients + noise, 0.95)
        none += without.low <= 0 <= without.high
    assert 0.92 <= hit / runs <= 0.995
    assert naive / runs < 0.85
    assert none / runs >= 0.93


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
def test_the_smallest_loss_is_shown_in_four_of_five_batches(margin):
    rng, error = np.random.default_rng(7), 0.02
    real = rng.normal(0.7, 0.2, 60)
    smallest = difference(rng.normal(0.7, 0.2, 20), real, 1 - 2 * error).smallest(margin, error)
    shown = 0
    for _ in range(400):
        found = difference(rng.normal(0.7 - smallest, 0.2, 20), rng.normal(0.7, 0.2, 60), 1 - 2 * error)
        shown += found.mean < -margin and found.high < 0
    assert shown / 400 == pytest.approx(0.8, abs=0.12)
