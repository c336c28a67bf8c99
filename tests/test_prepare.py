import dataclasses
import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tiny_store import CHANNELS, PREPARE, SHAPE, volume

from synthgate.cohort.case import Volume
from synthgate.cohort.prepare import BRIGHTEST, RIND, Geometry, core_of, find_head, prepare_volume, restore
from synthgate.errors import CohortError
from synthgate.learning.regions import dice

ORIENTATIONS = [
    "".join(code) for order in itertools.permutations(("LR", "PA", "IS")) for code in itertools.product(*order)
]


def oriented(source: Volume, codes: str) -> Volume:
    """The same patient, its voxels stored in another order by nibabel."""

    def turn(values):
        image = nib.Nifti1Image(values, source.affine)
        now = nib.orientations.io_orientation(source.affine)
        turned = image.as_reoriented(nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(codes)))
        assert "".join(nib.aff2axcodes(turned.affine)) == codes
        return np.asarray(turned.dataobj), turned.affine

    images = {name: turn(values)[0] for name, values in source.images.items()}
    label, affine = turn(source.label)
    return Volume(images, label, affine, source.spacing_known)


def one_hot(label):
    return np.stack([label == 1, label == 2]).astype(np.float32)


@pytest.fixture(scope="module")
def straight():
    return prepare_volume(volume(3), CHANNELS, PREPARE)


def test_shapes_and_types_are_those_of_the_contract(straight):
    assert straight.image.shape == (2, 32, 32, SHAPE[2]) and straight.image.dtype == np.float16
    assert straight.label.shape == (32, 32, SHAPE[2]) and straight.label.dtype == np.uint8
    assert straight.truth.shape == SHAPE
    assert set(np.unique(straight.label)) == {0, 1, 2}


def test_slices_stay_native(straight):
    lesion = straight.truth.any(axis=(0, 1))
    assert lesion.any() and not lesion.all()
    assert np.array_equal(straight.label.any(axis=(0, 1)), lesion)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_order_of_voxels_changes_nothing_and_the_way_back_leads_to_it(straight, codes):
    turned = oriented(volume(3), codes)
    prepared = prepare_volume(turned, CHANNELS, PREPARE)
    assert prepared.image.tobytes() == straight.image.tobytes()
    assert prepared.label.tobytes() == straight.label.tobytes()
    assert prepared.geometry.spacing_mm == pytest.approx(straight.geometry.spacing_mm)
    assert prepared.geometry.native_shape == turned.label.shape
    back = restore(one_hot(prepared.label), prepared.geometry)
    assert back.shape == (2, *turned.label.shape) and back.dtype == np.float32
    assert dice(back.any(0) & (back.sum(0) > 0.5), turned.label > 0) > 0.9
    assert dice(back[0] > 0.5, turned.label == 1) > 0.8


def test_a_map_on_the_native_grid_survives_the_way_there_and_back():
    # the head's box is the whole grid: neither direction resamples, so all comes back exactly
    head = np.ones(SHAPE, np.float32)
    head[:9, :9] = 0
    label = np.zeros(SHAPE, np.uint8)
    label[15:19, 20:26, 1:3] = 2
    label[16:18, 21:23, 2] = 1
    prepared = prepare_volume(Volume(dict.fromkeys(CHANNELS, 100 * head), label, np.eye(4)), CHANNELS, PREPARE)
    assert prepared.geometry.box == ((0, 32), (0, 32)) and prepared.geometry.scaled == (32, 32)
    assert np.array_equal(restore(one_hot(prepared.label), prepared.geometry) > 0.5, one_hot(label) > 0)


def test_a_background_well_above_zero_is_not_the_head():
    source = volume(1)
    raised = {name: values + 60 for name, values in source.images.items()}
    geometry = prepare_volume(dataclasses.replace(source, images=raised), CHANNELS, PREPARE).geometry
    assert geometry.box == prepare_volume(source, CHANNELS, PREPARE).geometry.box == ((4, 28), (2, 30))


def test_the_percentiles_of_the_heads_core_become_0_and_1():
    # the head's box is the whole grid, so nothing is resampled and every voxel can be computed here
    rng = np.random.default_rng(0)
    images = {name: rng.gamma(9, 10, SHAPE).astype(np.float32) + 60 for name in CHANNELS}
    head = np.ones(SHAPE, bool)
    head[:9, :9] = False  # enough of the border to be taken for background
    images = {name: values * head for name, values in images.items()}
    prepared = prepare_volume(Volume(images, None, np.eye(4)), CHANNELS, PREPARE)
    assert prepared.geometry.box == ((0, 32), (0, 32))
    for found, values in zip(prepared.image, images.values(), strict=True):
        low, high = np.percentile(values[core_of(head)], (1, 99))
        expected = np.clip((values - low) / (high - low), 0, BRIGHTEST) * head
        assert np.allclose(found.astype(np.float32), expected, atol=2e-3)
        assert expected.max() == pytest.approx(found.max(), abs=2e-3) and found.max() > 1


def test_how_bright_an_image_is_does_not_depend_on_the_grid_it_came_on(straight):
    # what was prepared, written on its own grid, is what a synthetic image is: to prepare it again changes nothing
    head = straight.image.max(axis=0) > 0
    images = {c: (300 + 1000 * v.astype(np.float32)) * head for c, v in zip(CHANNELS, straight.image, strict=True)}
    again = prepare_volume(Volume(images, straight.label, np.eye(4)), CHANNELS, PREPARE)
    inner = core_of(head)
    for before, after in zip(straight.image, again.image, strict=True):
        sds = [one[inner].astype(np.float64).std() for one in (before, after)]
        assert sds[1] == pytest.approx(sds[0], rel=5e-3)


def test_the_core_is_the_head_without_its_rind_and_never_nothing():
    disc = np.hypot(*(np.indices((40, 50)) - np.array([20, 24])[:, None, None])) <= 16
    core = core_of(np.stack([disc, np.zeros_like(disc)], axis=2))
    depth = round(RIND * 33)
    assert not core[..., 1].any() and (core[..., 0] <= disc).all()
    assert np.flatnonzero(core[:, 24, 0]).tolist() == list(range(4 + depth, 37 - depth))
    everywhere = core_of(np.ones((30, 30, 1), bool))
    assert np.flatnonzero(everywhere[:, 15, 0]).tolist() == list(range(4, 26)), "the border of the image is a border"
    thin = np.zeros((20, 20, 2), bool)
    thin[3:17, 9] = True
    assert np.array_equal(core_of(thin), thin)


def test_a_bright_scalp_does_not_darken_the_brain():
    source = volume(3)
    head = find_head(np.stack(list(source.images.values())))
    scalp = head & ~np.stack([ndimage.binary_erosion(plane, iterations=2) for plane in head.transpose(2, 0, 1)], axis=2)
    fat = {name: np.where(scalp, 4 * values.max(), values) for name, values in source.images.items()}
    plain, with_fat = (
        prepare_volume(dataclasses.replace(source, images=i), CHANNELS, PREPARE) for i in (source.images, fat)
    )
    inner = core_of(core_of((plain.image > 0).any(axis=0)))  # where resampling mixes no scalp in
    assert np.abs(plain.image - with_fat.image)[:, inner].max() < 0.02


def test_gain_and_scanner_units_do_not_matter(straight):
    source = volume(3)
    louder = {name: values * factor for (name, values), factor in zip(source.images.items(), (7.0, 0.3), strict=True)}
    prepared = prepare_volume(dataclasses.replace(source, images=louder), CHANNELS, PREPARE)
    assert np.abs(prepared.image.astype(np.float32) - straight.image.astype(np.float32)).max() < 2e-3


def test_the_head_is_found_beside_specks_and_with_its_holes():
    source = volume(1, lesion=False)
    head = source.images["t1"] > 0
    image = np.stack(list(source.images.values()))
    image[:, 15:18, 15:18] = 0  # a ventricle, dark in all channels
    image[:, 0, 0] = 500  # a speck in the corner
    assert np.array_equal(find_head(image), head)


def test_outside_the_head_is_zero():
    source = volume(1)
    noisy = {name: values + np.float32(2) * (values == 0) for name, values in source.images.items()}
    prepared = prepare_volume(dataclasses.replace(source, images=noisy), CHANNELS, PREPARE)
    assert not prepared.image[:, 0, 0].any()
    assert prepared.geometry.box == ((4, 28), (2, 30))


@pytest.mark.parametrize("level", [0.0, -5.0])
def test_an_image_nowhere_above_zero_holds_no_head(level):
    images = {name: np.full(SHAPE, level, np.float32) for name in CHANNELS}
    with pytest.raises(CohortError, match=r"no head.*constant"):
        prepare_volume(Volume(images, None, np.eye(4)), CHANNELS, PREPARE)


def test_a_constant_image_above_zero_holds_no_head():
    images = {name: np.full(SHAPE, 100, np.float32) for name in CHANNELS}
    with pytest.raises(CohortError, match="no head"):
        prepare_volume(Volume(images, None, np.eye(4)), CHANNELS, PREPARE)


def test_one_constant_channel_beside_another_is_zero_and_no_nan():
    source = volume(1)
    images = dict(source.images, flair=np.zeros(SHAPE, np.float32))
    prepared = prepare_volume(dataclasses.replace(source, images=images), CHANNELS, PREPARE)
    assert np.isfinite(prepared.image.astype(np.float32)).all()
    assert prepared.image[0].any() and not prepared.image[1].any()


def test_a_missing_channel_and_a_fourth_axis_are_refused():
    source = volume(1)
    with pytest.raises(CohortError, match=r"\['t2'\] are missing.*got \['flair', 't1'\]"):
        prepare_volume(source, ("t1", "t2"), PREPARE)
    series = {name: np.stack([values] * 2, 3) for name, values in source.images.items()}
    with pytest.raises(CohortError, match="three axes"):
        prepare_volume(dataclasses.replace(source, images=series), CHANNELS, PREPARE)


def test_proportions_are_kept_in_mm():
    # 24 x 28 voxels of 2 x 1 mm: 48 x 28 mm, so x fills the grid and y is 28/48 of it
    source = volume(1, affine=np.diag([2.0, 1.0, 5.0, 1.0]))
    geometry = prepare_volume(source, CHANNELS, PREPARE).geometry
    assert geometry.scaled == (32, round(32 * 28 / 48))
    assert geometry.spacing_mm == pytest.approx((24 * 2 / 32, 28 / geometry.scaled[1], 5.0))
    assert geometry.spacing_mm[0] == pytest.approx(geometry.spacing_mm[1], rel=0.05)
    assert geometry.pad == (0, (32 - geometry.scaled[1]) // 2)


def test_without_a_voxel_size_proportions_are_kept_in_voxels():
    affine = np.diag([2.0, 1.0, 5.0, 1.0])
    source = dataclasses.replace(volume(1, affine=affine), spacing_known=False)
    geometry = prepare_volume(source, CHANNELS, PREPARE).geometry
    assert geometry.spacing_mm is None
    assert geometry.scaled == (round(32 * 24 / 28), 32)


def test_an_oblique_affine_keeps_its_voxel_sizes():
    turn = nib.eulerangles.euler2mat(0.2, 0.1, -0.15)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.0, 4.0])
    geometry = prepare_volume(volume(1, affine=affine), CHANNELS, PREPARE).geometry
    assert geometry.spacing_mm == pytest.approx((24 / geometry.scaled[0], 28 / 32, 4.0))


def test_geometry_survives_json(straight):
    carried = json.loads(json.dumps(dataclasses.asdict(straight.geometry)))
    assert Geometry.from_json(carried) == straight.geometry
    carried["spacing_mm"] = None
    assert Geometry.from_json(carried).spacing_mm is None


def test_a_case_without_label_is_prepared_for_answering():
    prepared = prepare_volume(dataclasses.replace(volume(1), label=None), CHANNELS, PREPARE)
    assert prepared.label is None and prepared.truth is None
