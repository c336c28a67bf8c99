import numpy as np
import pytest

from synthgate.generators.shape import largest, resized, shape_of

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
SPACING = (1.0, 1.0, 2.0)
VOXEL = 0.002


@pytest.fixture
def label():
    """A ball of oedema with a core that is necrotic in its middle, 24 x 24 x 12."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (24, 24, 12)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + (2 * z) ** 2)
    return np.select([radius < 3, radius < 6, radius < 10], [1, 4, 2], 0).astype(np.uint8)


def counts(label):
    return {name: int(np.isin(label, values).sum()) for name, values in REGIONS.items()}


def test_a_shape_is_counted_in_ml_and_placed():
    head = np.ones((20, 20, 20), bool)
    label = np.zeros(head.shape, np.uint8)
    label[2:6, 15:19, 12:16], label[3, 16, 13] = 2, 4
    label[15:18, 15:18, 12:15] = 2
    label[10, 3, 3] = 1  # a stray voxel is no lesion
    found = shape_of(label, head, REGIONS, SPACING)
    assert found.volume_ml == pytest.approx({"WT": (64 + 27 + 1) * VOXEL, "TC": 2 * VOXEL, "ET": VOXEL})
    assert found.lesions == (("left", "frontal"), ("right", "frontal"))
    assert shape_of(label, head, REGIONS, None).volume_ml["TC"] == 2e-3  # thousands of voxels
    assert shape_of(np.zeros_like(label), head, REGIONS, None).lesions == ()


def test_pieces_that_touch_by_a_corner_are_one():
    label = np.zeros((20, 20, 20), np.uint8)
    label[2:6, 2:6, 2:6] = label[6:10, 6:10, 6:10] = 1
    assert len(shape_of(label, np.ones(label.shape, bool), REGIONS, None).lesions) == 1
    label[15:19, 15:19, 15:19] = 2
    assert largest(label).max() == 1 and (largest(label) > 0).sum() == 128


@pytest.mark.parametrize("share", [0.3, 0.9, 1.5, 2.5])
def test_a_sub_region_gets_its_volume_to_the_voxel_and_what_lies_in_it_keeps_its_share(label, share):
    before = counts(label)
    target = round(share * before["TC"])
    after = resized(label, REGIONS, {"TC": target * VOXEL}, SPACING)
    got = counts(after)
    assert got["WT"] == before["WT"] and ((after > 0) == (label > 0)).all()
    assert got["TC"] == target
    assert got["ET"] / got["TC"] == pytest.approx(before["ET"] / before["TC"], abs=0.01)
    one, other = np.isin(after, (1, 4)), np.isin(label, (1, 4))
    assert (one <= other).all() if share < 1 else (one >= other).all()  # from its border on


def test_shares_are_kept_through_all_that_lies_within():
    x, y = np.meshgrid(np.arange(40) - 19.5, np.arange(40) - 19.5, indexing="ij")
    rings = (4 - np.hypot(x, y) / 5).clip(0, 4)[..., None].astype(np.uint8)
    nested = {"A": (1, 2, 3, 4), "B": (2, 3, 4), "C": (3, 4), "D": (4,)}
    rings[18:22, 18:22] = 4
    before = {name: np.isin(rings, values).sum() for name, values in nested.items()}
    after = resized(rings, nested, {"B": 0.5e-3 * before["B"]}, None)
    got = {name: np.isin(after, values).sum() for name, values in nested.items()}
    assert got["A"] == before["A"]
    for name in "BCD":
        assert got[name] / before[name] == pytest.approx(0.5, abs=0.04)


def test_what_lies_in_a_sub_region_is_sized_by_itself(label):
    before = counts(label)
    got = counts(resized(label, REGIONS, {"ET": 100 * VOXEL}, SPACING))
    assert got == before | {"ET": 100}


def test_an_absent_sub_region_is_what_is_around_it(label):
    without = resized(label, REGIONS, {"ET": 0.0}, SPACING)
    np.testing.assert_array_equal(without, np.where(label == 4, 1, label))
    without = resized(label, REGIONS, {"TC": 0.0}, SPACING)
    np.testing.assert_array_equal(without, np.where(label > 0, 2, 0))
    two = {"WT": (1, 4), "ET": (4,)}
    np.testing.assert_array_equal(resized(np.minimum(label, 4), two, {"ET": 0.0}, None) == 4, False)


def test_nothing_asked_changes_nothing_and_what_is_not_there_does_not_grow(label):
    np.testing.assert_array_equal(resized(label, REGIONS, {}, SPACING), label)
    plain = np.where(label > 0, 2, 0)
    np.testing.assert_array_equal(resized(plain, REGIONS, {"ET": 1.0}, SPACING), plain)
