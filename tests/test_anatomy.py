import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from tiny_heads import planted

from synthgate.generators.anatomy import FIRST_CLUSTER, Anatomy, Head, complete, cut, depth
from synthgate.generators.fields import smooth_noise
from synthgate.generators.placement import deform, place, put_back, rotation_matrix


def head_and_label(number=0):
    clusters, label = planted(number)
    codes = np.where(clusters >= 0, FIRST_CLUSTER + clusters, 0).astype(np.uint8)
    return Head("key", "someone", codes, (2.0, 2.0, 5.0)), label


def test_a_symmetric_head_is_completed_exactly_from_its_other_side():
    head, label = head_and_label()
    gap = ndimage.binary_dilation(label > 0)
    damaged = np.where(gap, FIRST_CLUSTER, head.map).astype(np.uint8)
    assert (damaged != head.map).any()
    np.testing.assert_array_equal(complete(damaged, gap), head.map)


def test_a_gap_on_both_sides_is_filled_from_the_nearest_voxel():
    codes = np.full((9, 9, 1), 17, np.uint8)
    codes[:, 5:] = 18
    gap = np.zeros(codes.shape, bool)
    gap[:, 4] = True  # every mirror image of it is gap, too
    filled = complete(np.where(gap, 16, codes).astype(np.uint8), gap)
    assert set(np.unique(filled)) <= {17, 18}
    np.testing.assert_array_equal(filled[~gap], codes[~gap])


def test_completing_adds_no_head_outside_the_head():
    head, label = head_and_label(3)
    gap = np.ones(label.shape, bool)
    gap[:, :10] = False
    np.testing.assert_array_equal(complete(head.map, gap) > 0, head.map > 0)


def test_a_lesion_cut_out_and_put_back_is_where_it_was():
    head, label = head_and_label(2)
    lesion = cut(label, head.map > 0, "key", "someone")
    np.testing.assert_array_equal(put_back(lesion, head), label)
    assert cut(np.zeros_like(label), head.map > 0, "key", "someone") is None


def test_depth_is_the_distance_to_the_outside_in_the_plane():
    mask = np.random.default_rng(0).random((9, 8, 2)) < 0.7
    mask[0] = True  # also at the grid's edge, beyond which is outside
    found = depth(mask)
    for x, y, z in np.argwhere(mask):
        outside = [(i, j) for i in range(-1, 10) for j in range(-1, 9)
                   if not (0 <= i < 9 and 0 <= j < 8) or not mask[i, j, z]]  # fmt: skip
        assert found[x, y, z] == pytest.approx(min(np.hypot(x - i, y - j) for i, j in outside))
    assert not found[~mask].any()


def test_a_placed_lesion_keeps_its_place_and_size():
    head, label = head_and_label(0)
    other, _ = head_and_label(4)
    lesion = cut(label, head.map > 0, "key", "someone")
    low, sides = head.box
    low_other, sides_other = other.box
    real = (np.array(ndimage.center_of_mass(label > 0)) + 0.5 - low) / sides
    sides_seen, sizes = set(), []
    for seed in range(20):
        placed, lost = place(lesion, other, np.random.default_rng(seed))
        assert lost == 0
        assert set(np.unique(placed)) <= {0, 1, 2}
        at = (np.array(ndimage.center_of_mass(placed > 0)) + 0.5 - low_other) / sides_other
        flipped = np.abs(at[0] - real[0]) > np.abs(at[0] - (1 - real[0]))
        np.testing.assert_allclose([1 - at[0] if flipped else at[0], *at[1:]], real, atol=0.09)
        sides_seen.add(bool(flipped))
        sizes.append((placed > 0).sum() / (label > 0).sum())
    assert sides_seen == {True, False}
    # a lesion of a few dozen voxels loses some of its edge to any resampling
    assert 0.5 < np.median(sizes) < 1.2
    assert 0.8**3 * 0.4 < min(sizes) < max(sizes) < 1.25**3 * 1.2


def test_a_lesion_in_one_slice_does_not_become_a_column():
    head, _ = head_and_label()
    label = np.zeros(head.map.shape, np.uint8)
    middle = [n // 2 for n in label.shape]
    label[middle[0] : middle[0] + 6, middle[1] : middle[1] + 6, middle[2]] = 1
    flat = cut(label, head.map > 0, "key", "someone")
    for seed in range(8):
        placed, _ = place(flat, dataclasses.replace(head, spacing_mm=None), np.random.default_rng(seed))
        assert placed.any(axis=(0, 1)).sum() <= 2 and (placed > 0).sum() < 3 * (label > 0).sum()


def test_what_falls_off_the_grid_is_counted():
    head, label = head_and_label()
    lesion = cut(label, head.map > 0, "key", "someone")
    beyond = dataclasses.replace(lesion, low=(lesion.low[0], lesion.low[1] + 24, lesion.low[2]))
    whole, none = place(lesion, head, np.random.default_rng(0))
    placed, lost = place(beyond, head, np.random.default_rng(0))
    assert none == 0 and lost > 0
    assert (placed > 0).sum() + lost == pytest.approx((whole > 0).sum(), rel=0.3)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 5.0), None])
def test_a_deformed_map_has_the_same_values_and_nearly_the_same_voxels(spacing):
    head, label = head_and_label()
    codes = np.where(label > 0, label, head.map)
    (moved, shares), (again, _) = (deform(head.map, label, spacing, np.random.default_rng(0)) for _ in range(2))
    assert moved.dtype == np.uint8 and set(np.unique(moved)) == set(np.unique(codes))
    np.testing.assert_array_equal(moved, again)
    assert 0.6 < (moved == codes).mean() < 0.99
    assert 0.7 < (moved > 0).sum() / (codes > 0).sum() < 1.1
    sizes = [(one[(one > 0) & (one < FIRST_CLUSTER)]).size for one in (moved, codes)]
    assert 0.8 < sizes[0] / sizes[1] < 1.25
    assert shares.shape == (head.map.max() + 1 - FIRST_CLUSTER, *codes.shape)
    inside = moved >= FIRST_CLUSTER
    np.testing.assert_allclose(shares.sum(axis=0, dtype=np.float32)[inside], 1, atol=5e-3)
    assert ((shares.argmax(axis=0) + FIRST_CLUSTER) == moved)[inside].mean() > 0.9
    assert ((shares > 0.1) & (shares < 0.9)).any(axis=0)[inside].mean() > 0.02


def test_a_thin_structure_survives_deformation_and_a_lesion_stays_in_one_piece():
    codes = np.full((40, 48, 8), FIRST_CLUSTER, np.uint8)
    codes[:2] = codes[-2:] = codes[:, :2] = codes[:, -2:] = 0
    for value, start in enumerate((4, 5, 6)):  # one voxel wide, each of a class of its own
        codes[start:38:12, 4:-4] = FIRST_CLUSTER + 1 + value
    label = np.zeros_like(codes)
    label[16:26, 18:30, 2:6] = 1
    label[19:23, 21:27, 3:5] = 4
    moved, _ = deform(codes, label, None, np.random.default_rng(3))
    for value in (1, 2, 3):
        before, after = ((one == FIRST_CLUSTER + value).sum() for one in (np.where(label > 0, 0, codes), moved))
        assert 0.8 < after / before < 1.25
    parts, count = ndimage.label((moved > 0) & (moved < FIRST_CLUSTER))
    assert count == 1 and 0.8 < (parts > 0).sum() / (label > 0).sum() < 1.25


def test_rotations_are_rotations_and_stay_in_the_plane_where_slices_are_of_unknown_distance():
    degrees = np.array([10.0, -7.0, 30.0])
    for spatial in (True, False):
        turn = rotation_matrix(degrees, spatial)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    np.testing.assert_allclose(rotation_matrix(degrees, False), [[c, -s, 0], [s, c, 0], [0, 0, 1]], atol=1e-12)


def test_smooth_noise_has_unit_variance_everywhere_and_is_smooth():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise((24, 20, 6), (4, 4, 3), rng) for _ in range(400)])
    np.testing.assert_allclose(fields.std(0), 1, atol=0.2)
    assert np.abs(fields.mean(0)).max() < 0.25
    assert np.diff(fields, axis=1).std() < 0.35


def test_the_label_holds_the_studys_values_alone():
    codes = np.array([[[0, 1, 4, 16, 19]]], np.uint8)
    assert Anatomy(codes, ("a",), None, {}).label.tolist() == [[[0, 1, 4, 0, 0]]]
