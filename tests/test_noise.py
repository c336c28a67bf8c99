import numpy as np
import pytest

from synthgate.generators.learned.noise import BANDS, correlated, likeness

ALIKE = np.array([0.9, 0.6, 0.4, 0.2, 0.1, 0.0])


@pytest.fixture(scope="module")
def noise():
    return correlated((120, 1, 48, 40), ALIKE, np.random.default_rng(0))


def test_every_slice_is_white_and_of_unit_variance(noise):
    np.testing.assert_allclose(noise.std(axis=(1, 2, 3)), 1, atol=0.1)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=(0, 1)) / (48 * 40)
    assert abs(np.median(power) - 1) < 0.1 and power[1:4, 1:4].mean() < 1.3
    assert abs(noise[60:].mean()) < 0.1


def test_neighbours_are_as_alike_as_asked_and_independent_noise_is_not(noise):
    # bands pass into one another, so the outer ones are met and the order is kept
    found = likeness(noise)
    assert len(found) == len(BANDS) - 1
    np.testing.assert_allclose(found, ALIKE, atol=0.13)
    plain = likeness(np.random.default_rng(0).standard_normal((120, 1, 48, 40)))
    assert plain.max() < 0.15
