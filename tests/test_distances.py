"""Distances against scipy, brute force and closed forms."""

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from synthgate.stats import distances
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


def test_kernel_distance_is_torchmetrics_whatever_the_tiles(monkeypatch):
    import torch
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(90, 16)), rng.normal(0.2, 1.1, size=(90, 16))
    expected = float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b)))
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)
    # beyond a tile in float32, by products that add up to the same
    monkeypatch.setattr(distances, "TILE", 32)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert kernel_distance(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_of_equal_points_and_of_numbers_that_are_none():
    same = np.ones((5, 3))
    assert kernel_distance(same, same) == pytest.approx(0, abs=1e-12)
    # constant cases: (1 + 1)³ within, (0 + 1)³ within and across
    assert kernel_distance(same, same * 0) == pytest.approx(8 + 1 - 2)
    assert kernel_distance(same * 1e200, same) is None and kernel_distance(same * np.nan, same) is None


@pytest.mark.parametrize(("n", "m", "d"), [(40, 30, 6), (40, 5, 12), (5, 40, 12), (7, 6, 12)])
def test_frechet_is_torchmetrics_at_any_rank(n, m, d):
    import torch
    from torchmetrics.image.fid import _compute_fid

    rng = np.random.default_rng(3)
    a, b = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(0.5, 2, size=(m, d)))
    a[:, 0] = 1  # a constant feature
    expected = float(_compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()))
    assert frechet(a.numpy(), b.numpy()) == pytest.approx(expected, rel=1e-4)


def test_frechet_of_gaussians_with_one_axis_system_and_of_no_spread():
    rng = np.random.default_rng(4)
    a = rng.normal(size=(60, 4))
    # the same axes, three times the spread: the sum of squared differences of deviations
    assert frechet(a - a.mean(0), 3 * (a - a.mean(0))) == pytest.approx(4 * a.var(axis=0, ddof=1).sum())
    assert frechet(np.ones((9, 4)), np.zeros((9, 4))) == pytest.approx(4)
    assert frechet(a, a * np.nan) is None


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
