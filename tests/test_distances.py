"""Distances against scipy, brute force and closed forms."""

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from synthgate.stats.distances import (
    energy,
    energy_under,
    frechet,
    kernel_distance,
    pairwise,
    quantile_distances_under,
)


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(23, 5)), rng.normal(0.4, 1.3, size=(17, 5))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_pairwise_equals_scipy_whatever_the_chunk(samples, chunk):
    a, b = samples
    np.testing.assert_allclose(pairwise(a + 1e4, b + 1e4, chunk=chunk), cdist(a, b), rtol=1e-6)
    assert pairwise(a, a).diagonal().max() == 0
    assert pairwise(a[:0], b).shape == (0, 17)


def test_energy_in_one_dimension_is_that_of_scipy(samples):
    a, b = (part[:, :1] for part in samples)
    assert energy(a, b) == pytest.approx(stats.energy_distance(a[:, 0], b[:, 0]) ** 2)
    assert energy(a, a) == 0
    assert energy(a, b[:0]) is None


def test_energy_under_masks_equals_one_by_one(samples):
    pooled = np.concatenate(samples)
    masks = np.stack([np.random.default_rng(seed).permutation(len(pooled)) < 12 for seed in range(9)])
    expected = [energy(pooled[mask], pooled[~mask]) for mask in masks]
    np.testing.assert_allclose(energy_under(cdist(pooled, pooled), masks), expected, rtol=1e-9)


def test_kernel_distance_is_the_double_sum_and_may_be_negative(samples):
    a, b = samples

    def k(x, y):
        return (x @ y / len(x) + 1) ** 3

    within = [np.mean([k(x, y) for i, x in enumerate(part) for j, y in enumerate(part) if i != j]) for part in (a, b)]
    across = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)
    rng = np.random.default_rng(1)
    null = [kernel_distance(rng.normal(size=(20, 3)), rng.normal(size=(20, 3))) for _ in range(200)]
    assert min(null) < 0 and abs(np.mean(null)) < 4 * np.std(null) / np.sqrt(200)
    assert kernel_distance(a, b[:1]) is None


def test_frechet_is_the_matrix_square_root_formula(samples):
    a, b = samples
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(one @ two).real
    gap = a.mean(0) - b.mean(0)
    assert frechet(a, b) == pytest.approx(gap @ gap + np.trace(one + two - 2 * root))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a[:, :1], a[:, :1] + 3) == pytest.approx(9)
    assert frechet(a[:1], b) is None
    # fewer cases than features: singular covariances are no crash
    assert np.isfinite(frechet(a[:3], b[:4]))


def test_quantile_distances_are_scipys_wasserstein_over_the_pooled_deviation(samples):
    pooled = np.concatenate(samples)
    pooled[3, 1] = pooled[30, 1] = np.nan
    masks = np.stack([np.random.default_rng(seed).permutation(len(pooled)) < 15 for seed in range(5)])
    found = quantile_distances_under(pooled, masks)
    for row, mask in zip(found, masks, strict=True):
        for value, column in zip(row, pooled.T, strict=True):
            known = ~np.isnan(column)
            distance = stats.wasserstein_distance(column[mask & known], column[~mask & known])
            assert value == pytest.approx(distance / column[known].std())


def test_quantile_distance_of_a_constant_or_one_sided_column_is_zero():
    values = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, np.nan], [1.0, np.nan]])
    found = quantile_distances_under(values, np.array([[True, True, False, False]]))
    assert found.tolist() == [[0.0, 0.0]]
