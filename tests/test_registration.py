import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_measured import numbers

from synthgate.features import registration
from synthgate.features.thumbnails import fingerprint
from synthgate.gate.likeness import prints

PATIENTS = prints(numbers(8, 3, images=True))


def changed(small, place):
    """A thumbnail fetched from other places; fingerprint [1, channel, *grid]."""
    moved = np.stack([ndimage.map_coordinates(channel.astype(float), place, order=1) for channel in small])
    return fingerprint(moved.astype(np.uint8)).reshape(1, *small.shape)


def turned(small, degrees, scale=1.0, shift=0.0):
    middle = (np.array(small.shape[1:]) - 1)[:, None, None, None] / 2
    place = np.indices(small.shape[1:]) - middle
    a = np.deg2rad(degrees)
    x, y, z = place * scale
    return changed(small, np.stack([np.cos(a) * x - np.sin(a) * y + shift, np.sin(a) * x + np.cos(a) * y, z]) + middle)


SMALL = numbers(8, 3, images=True).thumbnail[5]


def test_what_already_fits_is_its_correlation_at_least():
    found = registration.similarities(PATIENTS[:3], PATIENTS)
    plain = np.einsum("acxyz,bcxyz->ab", PATIENTS[:3], PATIENTS) / PATIENTS.shape[1]
    assert np.allclose(found.diagonal(), 1, atol=1e-4)
    assert (found < 1 + 1e-4).all()
    order = np.argsort(-found, axis=1)[:, : registration.CLOSE]
    near = np.take_along_axis(found, order, 1) >= np.take_along_axis(plain, order, 1) - 1e-3
    assert near.all()


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(7, 1, 0), (-12, 1, 0), (4, 1.1, 0.8), (0, 1, 2.5)])
def test_a_turned_moved_scaled_copy_fits_its_original_again(degrees, scale, shift):
    copy = turned(SMALL, degrees, scale, shift)
    plain = (copy[0] * PATIENTS[5]).sum() / 2
    found = registration.similarities(copy, PATIENTS)[0]
    assert found.argmax() == 5
    assert found[5] > 0.75 > plain
    assert found[5] > np.delete(found, 5).max() + 0.3


def test_a_mirrored_copy_is_found():
    found = registration.similarities(PATIENTS[2:3, :, ::-1], PATIENTS)[0]
    assert found.argmax() == 2 and found[2] == pytest.approx(1, abs=1e-3)


def test_who_is_left_out_is_not_compared():
    out = np.eye(8, dtype=bool)
    found = registration.similarities(PATIENTS, PATIENTS, out)
    assert (found[out] == -1).all() and (found[~out] > -1).all()


def test_a_case_is_judged_alone_whoever_else_is_asked():
    assert np.allclose(
        registration.similarities(PATIENTS[:3], PATIENTS)[1], registration.similarities(PATIENTS[1:2], PATIENTS)[0],
        atol=1e-5,
    )  # fmt: skip


def test_constant_and_missing_images_are_like_nobody():
    blank = np.zeros_like(PATIENTS[:1])
    assert (registration.similarities(blank, PATIENTS) == -1).all()
    assert (registration.similarities(PATIENTS[:1], blank) == -1).all()
    assert registration.similarities(PATIENTS[:0], PATIENTS).shape == (0, 8)
    assert registration.similarities(PATIENTS, PATIENTS[:0]).shape == (8, 0)
    assert registration.similarities(PATIENTS[:1], PATIENTS[:1])[0, 0] == pytest.approx(1, abs=1e-4)


def test_the_fit_never_leaves_with_less_than_it_came_with():
    start = torch.eye(3, 4)[None]
    for other in range(1, 4):
        moving, still = torch.from_numpy(PATIENTS[:1]), torch.from_numpy(PATIENTS[other])
        plain = float((moving[0] * still).sum() / 2)
        assert float(registration.fit(moving, still, start)) >= plain - 0.02
