"""Radiomic descriptors: equal to mirp's, to closed forms, and None where undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgate.features.head import head_of
from synthgate.features.radiomics import FIRST_ORDER, LEVELS, NAMES, TEXTURE, describe, radiomics


@pytest.mark.parametrize(("seed", "shape", "share"), [(0, (9, 8, 5), 0.6), (1, (14, 6, 3), 0.9), (2, (7, 7, 1), 0.4)])
def test_every_feature_is_mirps(seed, shape, share):
    pytest.importorskip("mirp")
    from bench.metrics import mirp_radiomics

    rng = np.random.default_rng(seed)
    image, mask = rng.gamma(2, 0.2, shape).astype(np.float32), rng.random(shape) < share
    found = radiomics(image, mask)
    assert tuple(found) == NAMES
    assert found == pytest.approx(mirp_radiomics(image, mask), rel=1e-4)


def test_texture_of_a_chessboard_and_of_stripes():
    x, y, _ = np.indices((6, 6, 2))
    board = ((x + y) % 2).astype(np.float32)
    found = radiomics(board, np.ones(board.shape, bool))
    # per slice 30 neighbours along x and 30 along y, all between the levels 1 and 32; 50 diagonal ones, none of them
    p, gap = 60 / 110, LEVELS - 1
    assert found["contrast"] == pytest.approx(gap**2 * p)
    assert found["dissimilarity"] == pytest.approx(gap * p)
    assert found["inverse_difference_moment"] == pytest.approx(1 - p + p / (1 + gap**2))
    assert found["inverse_difference_normalised"] == pytest.approx(1 - p + p / (1 + gap / LEVELS))
    assert found["correlation"] == pytest.approx(1 - 2 * p)
    assert found["cluster_shade"] == pytest.approx(0, abs=1e-9)
    assert found["cluster_prominence"] == pytest.approx(gap**4 * (1 - p))
    assert found["angular_second_moment"] == pytest.approx(2 * (p / 2) ** 2 + 2 * ((1 - p) / 2) ** 2)
    assert found["joint_entropy"] == pytest.approx(-p * np.log2(p / 2) - (1 - p) * np.log2((1 - p) / 2))
    assert found["intensity_entropy"] == pytest.approx(1) and found["intensity_uniformity"] == pytest.approx(0.5)


def test_first_order_of_a_ramp():
    image = np.arange(LEVELS * 10, dtype=np.float32).reshape(LEVELS, 10, 1) + 5
    found, n = radiomics(image, np.ones(image.shape, bool)), LEVELS * 10
    variance = (n**2 - 1) / 12
    assert found["mean"] == found["median"] == pytest.approx(5 + (n - 1) / 2)
    assert found["variance"] == pytest.approx(variance)
    assert found["skewness"] == pytest.approx(0, abs=1e-12)
    assert found["kurtosis"] == pytest.approx(-1.2 * (n**2 + 1) / (n**2 - 1))
    assert found["percentile_10"] == pytest.approx(5 + 0.1 * (n - 1))
    assert found["percentile_90"] == pytest.approx(5 + 0.9 * (n - 1))
    assert found["interquartile_range"] == pytest.approx(0.5 * (n - 1))
    assert found["root_mean_square"] == pytest.approx(np.hypot(found["mean"], np.sqrt(variance)))
    # ten numbers in each of the bins
    assert found["intensity_entropy"] == pytest.approx(np.log2(LEVELS), abs=1e-2)
    assert found["intensity_uniformity"] == pytest.approx(1 / LEVELS, rel=1e-2)


def test_texture_depends_neither_on_the_unit_nor_on_what_is_outside():
    rng = np.random.default_rng(3)
    image, mask = rng.integers(0, 64, (10, 9, 4)).astype(np.float32), rng.random((10, 9, 4)) < 0.7
    other = np.where(mask, image * 4 + 128, 1e6).astype(np.float32)
    found, changed = radiomics(image, mask), radiomics(other, mask)
    assert {n: found[n] for n in TEXTURE} == pytest.approx({n: changed[n] for n in TEXTURE})


def none_of(found: dict[str, float | None]) -> set[str]:
    return {name for name, value in found.items() if value is None}


def test_what_cannot_be_computed_is_none():
    image, mask = np.full((5, 5, 3), 0.25, np.float32), np.ones((5, 5, 3), bool)
    assert none_of(radiomics(image, mask & False)) == set(NAMES)
    known = set(FIRST_ORDER) - {"skewness", "kurtosis", "intensity_entropy", "intensity_uniformity"}
    assert none_of(radiomics(image, mask)) == set(NAMES) - known
    one = np.zeros_like(mask)
    one[2, 2, 1] = True
    found = radiomics(image, one)
    assert none_of(found) == set(NAMES) - known and found["mean"] == found["percentile_10"] == 0.25
    # two voxels that are no neighbours have a histogram and no texture
    one[0, 0, 1], image[0, 0, 1] = True, 1
    assert none_of(radiomics(image, one)) == set(TEXTURE)
    image[0, 0, 1] = np.nan
    assert none_of(radiomics(image, one)) == set(NAMES)


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 4)] * 3), st.sampled_from([0.0, 1e-30, 1.0, 1e18, 3e38]))
@settings(max_examples=60, deadline=None)
def test_never_nan_never_an_error(seed, shape, unit):
    rng = np.random.default_rng(seed)
    image = (rng.choice([-1.0, 0.0, 0.5, 1.0], shape) * unit).astype(np.float32)
    found = radiomics(image, rng.random(shape) < 0.7)
    assert tuple(found) == NAMES
    assert all(value is None or (type(value) is float and np.isfinite(value)) for value in found.values())


def test_a_case_is_described_by_channel_over_head_and_lesion():
    rng = np.random.default_rng(4)
    image = np.zeros((2, 12, 12, 4), np.float32)
    image[:, 2:10, 2:10] = rng.uniform(0.1, 1, (2, 8, 8, 4))
    label = np.zeros(image.shape[1:], np.uint8)
    label[4:7, 4:7, 1:3] = 2
    found = describe(image, label, ("t1", "flair"))
    assert len(found) == 2 * 2 * len(NAMES)
    assert found["flair_lesion_contrast"] == radiomics(image[1], label > 0)["contrast"]
    assert found["t1_head_joint_entropy"] == radiomics(image[0], head_of(image))["joint_entropy"]
    assert none_of(describe(image, label * 0, ("t1", "flair"))) == {n for n in found if "_lesion_" in n}
    assert none_of(describe(image * 0, label * 0, ("t1", "flair"))) == set(found)
