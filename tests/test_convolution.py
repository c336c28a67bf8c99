"""The random convolutional space: fixed, deterministic, of the size asked for, and telling."""

import numpy as np
import pytest
import torch

from synthgate.features.convolution import Convolution


def image(seed: int, channels: int = 2) -> np.ndarray:
    out = np.zeros((channels, 32, 40, 12), np.float32)
    out[:, 4:28, 4:36, 1:11] = np.random.default_rng(seed).uniform(0.2, 0.8, (channels, 24, 32, 10))
    return out


@pytest.mark.parametrize("features", [6, 20, 64])
def test_it_gives_as_many_finite_features_as_asked(features):
    found = Convolution(2, features, 0).embed(image(0))
    assert found.shape == (features,) and found.dtype == np.float64 and np.isfinite(found).all()


def test_the_same_seed_is_the_same_space_and_another_is_another():
    x = image(0)
    one = Convolution(2, 24, 3).embed(x)
    torch.manual_seed(99)  # what others draw must not matter
    np.testing.assert_array_equal(one, Convolution(2, 24, 3).embed(x))
    assert not np.allclose(one, Convolution(2, 24, 4).embed(x))


def test_it_does_not_touch_the_global_generator():
    before = torch.get_rng_state()
    Convolution(2, 24, 3).embed(image(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_blurred_image_lies_farther_away_than_a_fresh_one_of_the_same_kind():
    space, x = Convolution(2, 24, 0), image(0)
    blurred = (x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3 * (x > 0)
    fresh = np.linalg.norm(space.embed(x) - space.embed(image(1)))
    assert np.linalg.norm(space.embed(x) - space.embed(blurred)) > 5 * fresh


def test_mean_and_spread_of_the_first_level_by_hand():
    space, x = Convolution(1, 6, 0), image(0, 1)
    found = space.embed(x)
    weight = space.filters[0].numpy()[0, 0]
    values = []
    for z in range(1, 11):
        padded = np.pad(x[0, :, :, z], 1)
        patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        values.append(np.maximum((patches * weight).sum(axis=(2, 3)), 0)[4:28, 4:36])
    assert found[0] == pytest.approx(np.mean(values), rel=1e-4)
    assert found[1] == pytest.approx(np.std(values), rel=1e-4)


def test_an_image_without_a_head_is_zeros_and_wrong_channels_are_refused():
    assert not Convolution(2, 12, 0).embed(np.zeros((2, 16, 16, 4), np.float32)).any()
    with pytest.raises(ValueError, match="2 channels, got an image of 3"):
        Convolution(2, 12, 0).embed(image(0, 3))
