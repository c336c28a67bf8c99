"""Descriptors: numbers known by construction; undefined is None."""

import numpy as np
import pytest
from scipy import stats

from synthgate.features.descriptors import EDGE, describe

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
CHANNELS = ("t1", "t1ce", "t2", "flair")


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A head that fills [4:36, 4:44, 2:18], its lesion a box of three parts; every value known."""
    image = np.zeros((4, 40, 48, 20), np.float32)
    image[:, 4:36, 4:44, 2:18] = np.random.default_rng(seed).uniform(0.4, 0.6, (4, 32, 40, 16))
    label = np.zeros((40, 48, 20), np.uint8)
    label[12:20, 14:24, 4:8] = 2
    label[14:18, 14:24, 4:8] = 1
    label[14:16, 14:24, 4:8] = 4
    return image, label


def test_volumes_shares_and_place():
    image, label = case()
    found = describe(image, label, REGIONS, (2.0, 2.0, 3.0), CHANNELS)
    assert found["head_volume"] == pytest.approx(32 * 40 * 16 * 12 / 1000)
    assert describe(image, label, REGIONS, None)["head_volume"] == pytest.approx(32 * 40 * 16 / 1000)
    total = 32 * 40 * 16
    assert [found[f"{r}_share"] for r in REGIONS] == pytest.approx([320 / total, 160 / total, 80 / total])
    assert [found[f"lesion_{a}"] for a in "xyz"] == pytest.approx([12 / 32, 15 / 40, 4 / 16])
    assert found["lesion_extent"] == pytest.approx((8 / 32 * 10 / 40 * 4 / 16) ** (1 / 3))


def test_intensities_are_those_of_head_lesion_and_the_rims_of_its_edge():
    image, label = case()
    image[1][label > 0] += 0.3
    found = describe(image, label, REGIONS, None, CHANNELS)
    head, lesion = image[1] > 0, label > 0
    x, y, z = np.indices(label.shape)
    # in-plane city-block distance to the box, the metric of a cross-shaped dilation
    away = np.maximum(np.maximum(12 - x, x - 19), 0) + np.maximum(np.maximum(14 - y, y - 23), 0)
    depth = np.minimum(np.minimum(x - 11, 20 - x), np.minimum(y - 13, 24 - y))
    outer, inner = (away > 0) & (away <= EDGE) & (z >= 4) & (z < 8), lesion & (depth <= EDGE)
    inside = image[1][head]
    assert found["t1ce_sd"] == pytest.approx(inside.std(), rel=1e-5)
    assert found["t1ce_variation"] == pytest.approx(stats.variation(inside), rel=1e-5)
    assert found["t1ce_lesion_sd"] == pytest.approx(image[1][lesion].std(), rel=1e-5)
    assert found["t1ce_contrast"] == pytest.approx(image[1][inner].mean() - image[1][outer].mean(), rel=1e-4)


def test_a_label_that_is_too_large_has_no_contrast_at_its_edge():
    image, label = case()
    image[1][label > 0] += 0.3
    grown = np.zeros_like(label)
    grown[9:23, 11:27, 4:8] = 2
    before, after = (describe(image, mask, REGIONS, None, CHANNELS)["t1ce_contrast"] for mask in (label, grown))
    assert before == pytest.approx(0.3, abs=0.03) and abs(after) < 0.03


def test_a_label_at_the_border_of_the_volume_has_its_rim_inside():
    image, label = case()
    image[:, :4, 4:44, 2:18] = 0.5
    label[:] = 0
    label[0:8, 14:24, 4:8] = 2
    image[1][label > 0] = 0.9
    assert describe(image, label, REGIONS, None, CHANNELS)["t1ce_contrast"] == pytest.approx(0.4, abs=0.03)


def test_skewness_gaps_are_those_of_the_channels_and_change_sign_when_they_are_exchanged():
    image, label = case()
    head = image[0] > 0
    image[0][head] **= 3
    found = describe(image, label, REGIONS, None, CHANNELS)
    expected = stats.skew(image[1][head].astype(float)) - stats.skew(image[0][head].astype(float))
    assert found["t1ce_t1_skewness"] == pytest.approx(expected, rel=1e-4)
    swapped = describe(image[[1, 0, 2, 3]], label, REGIONS, None, CHANNELS)
    assert swapped["t1ce_t1_skewness"] == pytest.approx(-expected, rel=1e-4)


def test_sharpness_of_a_wave_noise_of_noise_and_slope_of_a_power_law():
    image, label = case()
    x, _, _ = np.indices(label.shape)
    wave = np.zeros_like(image)
    wave[:, 4:36, 4:44, 2:18] = (0.5 + 0.2 * np.sin(2 * np.pi * x / 16))[4:36, 4:44, 2:18]
    # the central difference of sin(wx) is sin(w) cos(wx); mean cos² is about mean sin²
    assert describe(wave, label, REGIONS, None)["sharpness"] == pytest.approx(np.sin(2 * np.pi / 16) ** 2, rel=0.1)
    rng = np.random.default_rng(0)
    white = np.zeros_like(image)
    white[:, 4:36, 4:44, 2:18] = rng.normal(0.5, 0.05, (4, 32, 40, 16))
    assert describe(white, label, REGIONS, None)["noise"] == pytest.approx(1, rel=0.05)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    frequency[0, 0] = 1
    phases = np.exp(2j * np.pi * rng.random((16, 64, 64)))
    planes = np.fft.ifft2(phases / frequency**1.5).real
    cloud = (0.5 + 0.1 * planes / planes.std()).clip(0.01).transpose(1, 2, 0)[None].astype(np.float32)
    empty = np.zeros(cloud.shape[1:], np.uint8)
    assert describe(cloud, empty, REGIONS, None)["spectrum_slope"] == pytest.approx(-3, abs=0.25)


def test_blur_lowers_sharpness_and_noise():
    image, label = case()
    blurred = (image + np.roll(image, 1, 1) + np.roll(image, -1, 1)) / 3 * (image > 0)
    before, after = (describe(i, label, REGIONS, None) for i in (image, blurred))
    assert after["sharpness"] < before["sharpness"] and after["noise"] < before["noise"]


def test_without_a_lesion_its_descriptors_are_none_and_its_share_zero():
    image, label = case()
    found = describe(image, label * 0, REGIONS, None, CHANNELS)
    undefined = {name for name, value in found.items() if value is None}
    expected = {f"lesion_{a}" for a in "xyz"} | {"lesion_extent"}
    assert undefined == expected | {f"{c}_{m}" for c in CHANNELS for m in ("lesion_sd", "contrast")}
    assert found["WT_share"] == 0


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_empty_and_constant_images_are_no_crash_and_no_nan(value):
    image, label = case()
    image[:] = value
    found = describe(image, label, REGIONS, None)
    assert not any(v is not None and not np.isfinite(v) for v in found.values())
    assert found["noise"] is None and found["sharpness"] is None and found["spectrum_slope"] is None


def test_at_most_thirty_plain_numbers_with_the_same_names_for_every_case():
    image, label = case()
    found, other = describe(image, label, REGIONS, None), describe(image, label * 0, REGIONS, (1.0, 1.0, 1.0))
    assert list(found) == list(other) and len(found) <= 30
    assert all(type(value) in (float, type(None)) for value in found.values())
