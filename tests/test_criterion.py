import numpy as np
import pytest

from synthgate.generators.learned.criterion import Shown, alike, distances, judge, wavelets

SHAPE = (24, 2, 32, 32)


def shown(painted, real):
    condition = np.zeros((len(real), 5, 32, 32), np.float32)
    condition[:, 2:, 4:28, 4:28] = 1  # the spread of two channels, and where is painted
    return Shown(painted, real, condition, np.array([f"p{i // 4}" for i in range(len(real))]))


def fields(seed, smooth):
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal(SHAPE))
    radius = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None])
    out = np.fft.ifft2(spectrum * np.exp(-((radius * smooth) ** 2))).real
    return (out / out.std()).astype(np.float32)


def test_what_looks_alike_is_near_and_what_does_not_is_far():
    real = shown(fields(0, 6), fields(0, 6))
    near, far = (judge(1, real, shown(fields(1, smooth), fields(2, 6))) for smooth in (6, 2))
    assert abs(near.kernel_distance) < 0.2 * far.kernel_distance
    assert near.one_nn_accuracy < 0.75 < far.one_nn_accuracy


def test_a_painter_without_the_patients_variety_is_told_though_its_mean_is_theirs():
    strength = np.exp(np.linspace(-1.5, 1.5, SHAPE[0]))[:, None, None, None]
    real = np.float32(strength) * fields(0, 6)
    usual = fields(1, 6)
    honest = np.float32(strength) * fields(1, 6)
    same, varied = (judge(1, shown(real, real), shown(one, real)).kernel_distance for one in (usual, honest))
    assert same > 0.1 > varied


def test_noise_as_strong_as_patients_is_told_where_their_channels_show_the_same_and_its_do_not():
    def together(seed):
        both = fields(seed, 6)
        return both + 2 * both[:, ::-1]  # each channel shows what the other does

    real, own = together(2), fields(1, 6) * np.float32(np.sqrt(5))
    same, each = (judge(1, shown(real, real), shown(one, real)).kernel_distance for one in (together(1), own))
    assert abs(same) < 0.2 * each


def test_a_painter_that_gives_back_its_patients_is_told():
    real, unseen = fields(0, 6), shown(fields(1, 6), fields(2, 6))
    noisy = 0.9 * real + 0.3 * fields(3, 6)
    memory, none = (judge(1, shown(painted, real), unseen).nearness for painted in (noisy, fields(4, 6)))
    assert memory < 0.2 and none == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("slices", "told"), [(24, True), (5, True), (4, False)])
def test_a_painter_is_not_stopped_by_what_may_be_chance(slices, told):
    real, others = fields(0, 6)[:slices], shown(fields(1, 6)[:slices], fields(2, 6)[:slices])
    judged = judge(1, shown(0.9 * real + 0.3 * fields(3, 6)[:slices], real), others)
    assert judged.nearness < 0.3 and judged.memorises(0.8) is told and not judged.memorises(0.01)


def test_a_painter_without_memory_is_hardly_ever_stopped_however_few_slices():
    real, painted = fields(0, 25), fields(9, 25)
    rows = np.random.default_rng(5).permuted(np.tile(np.arange(24), (200, 1)), axis=1)
    judged = [judge(1, *(shown(painted[some], real[some]) for some in (row[:5], row[5:10]))) for row in rows]
    assert sum(one.nearness < 0.8 for one in judged) > 20 and sum(one.memorises(0.8) for one in judged) <= 6


def test_distances_are_of_correlation_within_the_head():
    real = fields(0, 6)
    heads = np.zeros((len(real), 32, 32), bool)
    heads[:, 8:20, 8:20] = True
    changed = np.where(heads[:, None], 3 * real + 1, 7)
    np.testing.assert_allclose(distances(changed, real, heads), 0, atol=1e-5)
    np.testing.assert_allclose(distances(-real, real, heads), 2, atol=1e-5)


def test_wavelets_tell_scale_and_place():
    flat, grain, corner = np.zeros((3, 1, 1, 32, 32))
    grain += np.indices((32, 32)).sum(axis=0) % 2
    corner[..., :8, :8] = np.indices((8, 8)).sum(axis=0) % 2
    told = [wavelets(image) for image in (flat, grain, corner)]
    assert all(np.isfinite(one).all() and one.shape == told[0].shape for one in told)
    assert alike(flat).size == 0  # one channel is like no other
    assert 0 < (np.abs(told[2] - told[0]) > 1e-9).sum() < (np.abs(told[1] - told[0]) > 1e-9).sum()
