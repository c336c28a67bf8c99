"""The mild change: small, smooth, inside the head."""

import numpy as np
from scipy import ndimage

from synthgate.features.mild import mild


def test_smooth_images_hardly_change_and_the_outside_stays_zero():
    x, y, z = np.indices((40, 48, 6))
    inside = (x >= 4) & (x < 36) & (y >= 4) & (y < 44)
    image = ((0.5 + 0.2 * np.sin(x / 6) * np.cos(y / 7 + z)) * inside)[None].astype(np.float32)
    changed = mild(image)
    assert changed.shape == image.shape and changed.dtype == np.float32
    assert not changed[0][~inside].any()
    core = ndimage.binary_erosion(inside, np.ones((3, 3, 1)), iterations=3)
    assert np.abs(changed - image)[0][core].max() < 0.01


def test_it_takes_some_of_the_finest_detail_and_adds_no_level():
    noise = np.random.default_rng(0).uniform(0.2, 0.8, (2, 40, 48, 4)).astype(np.float32)
    changed = mild(noise)
    assert 0.5 < changed.std() / noise.std() < 0.99
    assert abs(changed.mean() - noise.mean()) < 0.01
    assert changed.min() >= 0 and changed.max() <= noise.max()


def test_an_empty_image_stays_empty():
    assert not mild(np.zeros((1, 16, 16, 3), np.float32)).any()
