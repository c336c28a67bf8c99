"""Vendi score and mean distance by their definitions."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from synthgate.stats.variety import gaussian_kernel, mean_distance, vendi, vendi_under


def test_vendi_counts_distinct_cases():
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.ones((7, 7))) == pytest.approx(1)
    assert vendi(np.kron(np.eye(3), np.ones((4, 4)))) == pytest.approx(3)
    assert vendi(np.zeros((0, 0))) is None


def test_vendi_of_choices_equals_one_by_one():
    points = np.random.default_rng(0).normal(size=(15, 3))
    kernel = gaussian_kernel(cdist(points, points))
    rows = np.stack([np.random.default_rng(seed).permutation(15)[:6] for seed in range(5)])
    expected = []
    for row in rows:
        weights = np.linalg.eigvalsh(kernel[np.ix_(row, row)] / 6)
        expected.append(np.exp(-sum(w * np.log(w) for w in weights if w > 1e-15)))
    np.testing.assert_allclose(vendi_under(kernel, rows), expected, rtol=1e-9)


def test_the_kernel_is_as_wide_as_the_median_distance_and_undefined_for_identical_cases():
    points = np.random.default_rng(1).normal(size=(9, 2))
    kernel = gaussian_kernel(cdist(points, points))
    assert np.median(kernel[np.triu_indices(9, 1)]) == pytest.approx(np.exp(-0.5))
    assert gaussian_kernel(np.zeros((4, 4))) is None
    assert gaussian_kernel(np.zeros((1, 1))) is None


def test_mean_distance_is_over_different_cases():
    points = np.random.default_rng(2).normal(size=(9, 2))
    assert mean_distance(points) == pytest.approx(pdist(points).mean())
    assert mean_distance(points[:1]) is None
