from types import SimpleNamespace

import numpy as np
import pytest

from synthgate.generators.learned import tone
from synthgate.generators.learned.conditions import Conditions, Styles
from synthgate.generators.learned.painter import Painter

HEAD = np.ones((48, 40, 48), np.float32)
HEAD[:, :6] = 0


def noise():
    return np.random.default_rng(0).normal(size=(48, 2, 40, 48)).astype(np.float32) * HEAD[:, None]


def falling():
    line = np.linspace(1.5, 0.5, len(tone.INTERVALS))
    return np.outer(line, line).ravel() * np.array([[1], [1.3]])


def inner(spectra):
    """[…, interval, interval] without those whose gains go over into 1."""
    return spectra.reshape(*spectra.shape[:-1], *[len(tone.INTERVALS)] * 2)[..., :-1, :-1]


def test_white_noise_has_the_same_of_every_band_whatever_the_size_of_the_head():
    for head in (HEAD, HEAD[:, :20], HEAD[:12]):
        found = tone.spectrum(noise()[: len(head), :, : head.shape[1]], head)
        np.testing.assert_allclose(found[:, 1:], 1, atol=0.25)


def toned(detail, wished):
    return tone.toned(detail, HEAD, wished)


def test_a_residual_is_given_the_spectrum_that_is_wished_and_nothing_outside_the_head_counts():
    assert tone.middle(np.arange(3, 13)).tolist() == [5, 6, 7, 8, 9, 10] and tone.middle(np.arange(2)).tolist() == [
        0,
        1,
    ]
    made = toned(noise() + 100 * (1 - HEAD[:, None]), falling())
    assert made.dtype == np.float32
    found, wished = inner(tone.spectrum(made, HEAD)), inner(falling())
    np.testing.assert_allclose(found, wished, rtol=0.3)
    assert abs(np.log(found / wished)).mean() < 0.1


def test_a_gain_is_limited_both_ways_and_nothing_is_made_of_nothing():
    before = inner(tone.spectrum(noise(), HEAD))
    for wished, gain in ((10000 * falling(), tone.MOST), (falling() / 10000, 1 / tone.MOST)):
        found = inner(tone.spectrum(toned(noise(), wished), HEAD))
        assert found.mean() == pytest.approx(gain**2 * before.mean(), rel=0.1)
    assert not toned(0 * noise(), falling()).any()


@pytest.mark.parametrize("axes", [(2, 3), (3, 2)])
def test_gains_go_over_into_1_and_the_finest_is_left_as_it_is(axes):
    whole = np.ones_like(HEAD)  # a head's border would mix the frequencies
    made = tone.toned(noise(), whole, 10000 * falling())
    before, after = (np.abs(np.fft.fft2(part)).mean((0, 1)) for part in (noise(), made))
    along, across = (np.abs(np.fft.fftfreq(made.shape[axis])) for axis in axes)
    gain = np.moveaxis(after / before, axes[0] - 2, 0)[:, across < 0.1].mean(1)
    np.testing.assert_allclose(gain[along <= 0.15], tone.MOST, rtol=1e-4)
    np.testing.assert_allclose(gain[along >= 0.215], 1, rtol=1e-4)
    between = gain[(along > 0.16) & (along < 0.2)]
    assert len(between) and (between > 1.05).all() and (between < tone.MOST - 0.05).all()


def test_a_plane_too_small_for_a_band_has_none_of_it_to_change():
    small, head = noise()[:, :, :4, :4], np.ones((48, 4, 4))
    found = tone.spectrum(small, head).reshape(2, len(tone.INTERVALS), -1)
    assert np.isfinite(found).all() and (found[:, 1:5] == 1).all() and (found[:, :, 1:5] == 1).all()
    np.testing.assert_allclose(tone.toned(small, head, found.reshape(2, -1)), small, atol=0.2)


def test_a_painted_head_has_the_spectrum_of_its_style_and_the_spread_of_its_classes():
    styles = Styles((16,), np.array([[[0.5, 0.5, 0.1, 0.2]]] * 2, np.float32), ({"site": "A"}, {"site": "B"}))
    spectra = 0.01 * np.stack([falling(), 2 * falling()])

    def brush(condition, group, rng):
        return rng.standard_normal((len(condition), 2, *condition.shape[2:]), np.float32)

    codes = np.where(np.moveaxis(HEAD, 0, 2) > 0, 16, 0).astype(np.uint8)
    anatomy = SimpleNamespace(map=codes, shares=None)
    conditions = Conditions.of((16,), ("site",), styles.attributes)
    for site, wished in zip("AB", spectra, strict=True):
        painter = Painter(brush, conditions, styles, spectra)
        [image] = painter.sample([anatomy], [{"site": site}], np.random.default_rng(0))
        assert image.shape == (2, *codes.shape) and image.dtype == np.float32
        detail = np.moveaxis((image - 0.5) * (codes > 0), 3, 0)
        assert abs(np.log(inner(tone.spectrum(detail, HEAD)) / inner(wished))).mean() < 0.15
