import numpy as np
import pytest
from scipy import ndimage

from synthgate.features.degrade import CROSS, DEGRADES, LEVELS
from synthgate.features.head import head_of

RNG = np.random.default_rng(0)


def made(channels=3, seed=0):
    rng = np.random.default_rng(seed)
    place = np.indices((24, 28, 10)) - np.array([12, 14, 5])[:, None, None, None]
    head = ((place / np.array([10, 12, 4.5])[:, None, None, None]) ** 2).sum(axis=0) < 1
    image = (rng.uniform(0.2, 1, (channels, *head.shape)) * head).astype(np.float32)
    label = np.zeros(head.shape, np.uint8)
    label[8:12, 10:15, 4:6], label[9:11, 11:13, 4:6] = 2, 1
    return image, label


@pytest.mark.parametrize("name", DEGRADES)
def test_what_is_spoiled_is_still_a_prepared_case(name):
    image, label = made()
    kept = image.copy(), label.copy()
    found, marked = DEGRADES[name](image, label, 1.5, np.random.default_rng(1))
    assert found.dtype == np.float32 and found.shape == image.shape and np.isfinite(found).all()
    assert marked.dtype == np.uint8 and set(np.unique(marked)) <= {0, 1, 2}
    assert not np.array_equal(found, image) or not np.array_equal(marked, label)
    head = head_of(found) if name == "upside_down" else head_of(image)
    assert not found[:, ~head].any() and found.min() >= 0
    assert np.array_equal(kept[0], image) and np.array_equal(kept[1], label), "the original is left alone"


def test_noise_has_the_spread_it_says():
    image, label = made()
    head = head_of(image)
    flat = np.where(head, 0.5, 0)[None].astype(np.float32)
    found, _ = DEGRADES["noise"](flat, label, 4.0, np.random.default_rng(1))
    assert (found - flat)[0][head].std() * LEVELS == pytest.approx(4, rel=0.05)


def test_gamma_and_swap_are_what_they_say():
    image, label = made()
    assert DEGRADES["gamma"](image, label, 0.5, RNG)[0] == pytest.approx(np.sqrt(image))
    assert np.array_equal(DEGRADES["swapped_channels"](image, label, 1, RNG)[0], image[[1, 0, 2]])


def test_labels_grow_in_plane_by_that_many_pixels():
    image, label = made()
    _, found = DEGRADES["dilated_labels"](image, label, 1.0, RNG)
    assert np.array_equal(found > 0, ndimage.binary_dilation(label > 0, CROSS) & head_of(image))
    assert np.array_equal(found[label > 0], label[label > 0])


def test_a_label_that_is_moved_keeps_its_size_and_leaves_its_place():
    image, label = made()
    _, found = DEGRADES["wrong_labels"](image, label, 0.3, np.random.default_rng(3))
    assert 0 < (found > 0).sum() <= (label > 0).sum()
    assert ((found > 0) & (label > 0)).sum() < (label > 0).sum() / 2


def test_upside_down_twice_is_nothing():
    image, label = made()
    once = DEGRADES["upside_down"](image, label, 1, RNG)
    assert np.array_equal(DEGRADES["upside_down"](*once, 1, RNG)[0], image)


@pytest.mark.parametrize("name", DEGRADES)
def test_without_a_lesion_nothing_breaks(name):
    image, _ = made()
    found, marked = DEGRADES[name](image, np.zeros(image.shape[1:], np.uint8), 1.0, np.random.default_rng(1))
    assert np.isfinite(found).all() and not marked.any()
