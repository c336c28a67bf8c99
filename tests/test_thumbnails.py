"""Thumbnails, outlines, lesion shapes and fingerprints."""

import numpy as np
import pytest

from synthgate.features.thumbnails import GRID, SHAPE_GRID, SMALLEST_SHAPE, fingerprint, outline, shape_of, thumbnail


def head(seed: int, low: int = 0) -> np.ndarray:
    """A head of twice the grid's size at some place."""
    out = np.zeros((2, 80, 96, 50), np.float32)
    x, y, z = (2 * side for side in GRID)
    out[:, low : low + x, low : low + y, low : low + z] = np.random.default_rng(seed).uniform(0.1, 1, (2, x, y, z))
    return out


def test_a_thumbnail_is_the_mean_over_blocks_of_the_heads_box():
    image = head(0, 5)
    x, y, z = GRID
    blocks = image[:, 5 : 5 + 2 * x, 5 : 5 + 2 * y, 5 : 5 + 2 * z].reshape(2, x, 2, y, 2, z, 2).mean(axis=(2, 4, 6))
    np.testing.assert_array_equal(thumbnail(image), np.rint(blocks / 1.5 * 255).astype(np.uint8))


def test_it_does_not_depend_on_where_the_head_lies():
    np.testing.assert_array_equal(thumbnail(head(0, 2)), thumbnail(head(0, 9)))


def test_the_outline_is_on_the_same_grid():
    image, label = head(0, 4), np.zeros((80, 96, 50), np.uint8)
    label[4:24, 4:34, 4:14] = 3
    found = outline(label, image)
    assert found.shape == GRID and (found[:10, :15, :5] == 255).all() and found.sum() == 255 * 10 * 15 * 5


def test_a_shape_does_not_depend_on_size_and_small_lesions_have_none():
    x, y, z = np.indices((60, 60, 40))
    ball = (((x - 30) / 20) ** 2 + ((y - 30) / 20) ** 2 + ((z - 20) / 12) ** 2 < 1).astype(np.uint8)
    half = ball[::2, ::2, ::2]
    one, two = (shape_of(part).astype(float).ravel() / 255 for part in (ball, half))
    assert one.shape == (np.prod(SHAPE_GRID),) and 2 * one @ two / (one @ one + two @ two) > 0.95
    speck = np.zeros((20, 20, 20), np.uint8)
    speck.ravel()[: SMALLEST_SHAPE - 1] = 1
    assert shape_of(speck) is None and shape_of(speck * 0) is None


def test_fingerprints_correlate_with_themselves_through_gamma_and_bias_and_not_with_others():
    image = head(0)
    bias = 1 + 0.3 * np.linspace(-1, 1, 80)[:, None, None]
    changed = (image**0.8 * bias).astype(np.float32)
    mine, same, other = (fingerprint(thumbnail(part)) for part in (image, changed, head(1)))
    np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, rtol=1e-5)
    assert (mine * same).sum(axis=1).min() > 0.95
    assert np.abs((mine * other).sum(axis=1)).max() < 0.1


@pytest.mark.parametrize("value", [0, 128])
def test_a_constant_or_empty_thumbnail_has_an_empty_fingerprint(value):
    small = np.full((2, *GRID), value, np.uint8)
    assert not fingerprint(small).any()
    assert not thumbnail(np.zeros((2, 16, 16, 4), np.float32)).any()
