import numpy as np
import pytest
import torch
from monai.metrics import DiceHelper

from synthgate.learning.regions import dice, to_label, to_regions

BRATS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
LGG = {"WT": (1,)}
TWO = {"WT": (1, 2), "TC": (1,)}


@pytest.mark.parametrize("regions", [BRATS, LGG, TWO])
def test_labels_survive_the_way_to_regions_and_back(regions):
    values = sorted({value for united in regions.values() for value in united})
    label = np.random.default_rng(0).choice([0, *values], (5, 6, 7)).astype(np.uint8)
    back = to_label(to_regions(label, regions).astype(np.float32), regions)
    assert back.dtype == np.uint8
    assert np.array_equal(back, label)


def test_regions_are_unions_in_the_order_given():
    label = np.array([[0, 1], [2, 4]], np.uint8)
    assert to_regions(label, BRATS).tolist() == [
        [[False, True], [True, True]], [[False, True], [False, True]], [[False, False], [False, True]],
    ]  # fmt: skip


def test_a_voxel_outside_a_region_is_outside_all_that_lie_in_it():
    probabilities = np.array([[0.9, 0.9, 0.2], [0.1, 0.9, 0.9], [0.9, 0.1, 0.9]], np.float32)
    assert to_label(probabilities, BRATS).tolist() == [2, 1, 0]


def test_whatever_a_network_says_the_label_is_nested_and_known():
    probabilities = np.random.default_rng(1).random((3, 8, 8, 8))
    label = to_label(probabilities, BRATS)
    wt, tc, et = to_regions(label, BRATS)
    assert set(np.unique(label)) <= {0, 1, 2, 4}
    assert not (et & ~tc).any() and not (tc & ~wt).any()
    assert np.array_equal(wt, probabilities[0] > 0.5)


def test_dice_is_that_of_the_reference_library():
    rng = np.random.default_rng(2)
    for share in (0.02, 0.3, 0.9):
        a, b = rng.random((2, 9, 9, 9)) < share
        one = DiceHelper(include_background=True, threshold=True, get_not_nans=False)
        expected = one(torch.tensor(a)[None, None].float(), torch.tensor(b)[None, None].float())
        assert dice(a, b) == pytest.approx(float(torch.as_tensor(expected)), abs=1e-6)
        both = sum(bool(p) and bool(q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
        assert dice(a, b) == pytest.approx(2 * both / (a.sum() + b.sum()))


def test_dice_without_a_true_region_is_undefined_and_nothing_found_of_one_is_zero():
    empty, full = np.zeros((2, 2), bool), np.ones((2, 2), bool)
    assert dice(empty, empty) is None and dice(full, empty) is None
    assert dice(empty, full) == 0
    assert dice(full, full) == 1
