import numpy as np
import pytest
from scipy.special import ndtr

from synthgate.cohort.prepare import BRIGHTEST
from synthgate.generators.learned.conditions import (
    Conditions,
    Styles,
    fade_of,
    image_of,
    residual_of,
    style_of,
)  # fmt: skip


def lesion_map(slices=1):
    """So many with a lesion, and one without."""
    codes = np.full((12, 12, slices + 1), 16, np.uint8)
    codes[2:10, 2:10, :slices] = 2
    codes[4:8, 4:8, :slices] = 1
    return codes


def images_of(image):
    return np.moveaxis(image, 3, 0)


def test_a_style_is_had_again_from_the_mean_image_that_it_makes_and_is_nan_where_there_are_few():
    codes, classes = lesion_map(4), [1, 2, 3, 16, 17]
    codes[:, 8:, 4] = 17
    codes[0, 0, 1] = 3
    table = np.zeros((256, 4), np.float32)
    table[[1, 2, 16, 17], :2] = [0.2, 1.1], [0.9, 0.4], [0.5, 0.6], [0.7, 0.3]
    mean = Conditions.of(classes, [], []).planes(np.moveaxis(codes, 2, 0), table)[:, :2]
    style = dict(zip(classes, style_of(np.moveaxis(mean, 0, 3), codes, classes, 1.0), strict=True))
    for value in (1, 2):  # although hardly a voxel is of one class alone
        np.testing.assert_allclose(style[value][:2], table[value, :2], atol=0.03)
        np.testing.assert_allclose(style[value][2:], 0.01, atol=0.01)
    assert np.isnan(style[3]).all() and np.isfinite(style[17]).all()


def test_a_label_of_few_voxels_has_their_mean_and_one_of_more_what_least_squares_find():
    rng = np.random.default_rng(0)
    codes = np.full((12, 24, 8), 16, np.uint8)
    codes[4:6, 2:10, :3] = 1  # a line, two pixels wide, so that all voxels are partly tissue
    codes[4:6, 12:22, 3:] = 2
    codes[6, 2, 0] = 1  # 49 voxels of 1, 100 of 2
    image = np.array([0.0, 0.2, 0.9, *[0.6] * 14])[codes][None] + rng.normal(0, 0.1, (1, *codes.shape))
    few = style_of(image, codes, [1, 2, 16], 1.0)
    np.testing.assert_allclose(few[0, 0], image[0, codes == 1].mean(), rtol=1e-6)
    assert few[1, 0] > image[0, codes == 2].mean() + 0.05
    codes[6, 3, 0] = 1
    image[0, 6, 3, 0] = 0.2
    assert style_of(image, codes, [1, 2, 16], 1.0)[0, 0] < image[0, codes == 1].mean() - 0.05


def test_a_label_of_few_voxels_is_painted_where_another_one_is_fitted():
    codes = np.full((12, 12, 8), 16, np.uint8)
    codes[4:8, 3:7], codes[4:8, 7, 0] = 2, 1  # four voxels of 1 at the border of 2
    table = np.zeros((256, 1), np.float32)
    table[[1, 2, 16], 0] = 1.2, 0.5, 0.5
    image = np.full((1, *codes.shape), 0.5)
    image[0, codes == 1] = 1.2
    style = style_of(image, codes, [2, 16], 0.25)
    np.testing.assert_allclose(style[0, 0], 0.5, atol=0.005)  # not brighter to make good for a hole


def test_a_spread_is_what_the_mean_image_leaves():
    codes, rng = lesion_map(), np.random.default_rng(0)
    image = rng.normal(0.5, 0.1, (1, *codes.shape))
    style = style_of(image, codes, [1, 2, 16], 1.0)
    table = Styles((1, 2, 16), style[None], ({},)).table(style)
    left = images_of(image) - Conditions.of([1, 2, 16], [], []).planes(np.moveaxis(codes, 2, 0), table)[:, :1]
    for value, found in zip((1, 2, 16), style[:, 1], strict=True):
        there = left[:, 0][np.moveaxis(codes, 2, 0) == value]
        np.testing.assert_allclose(found, np.sqrt((there**2).mean()), rtol=1e-4)


def test_an_image_is_had_again_from_its_residual_which_is_as_strong_in_every_zone_and_channel():
    codes, classes = lesion_map(), [1, 2, 16]
    rng = np.random.default_rng(0)
    image = (0.5 + np.array([0.3, 0.01])[:, None, None, None] * rng.normal(size=(2, *codes.shape))).astype(np.float32)
    table = Styles(tuple(classes), style_of(image, codes, classes, 1.0)[None], ({},)).table(
        style_of(image, codes, classes, 1.0)
    )
    [*told] = Conditions.of([1, 2, 16], [], []).planes(np.moveaxis(codes, 2, 0), table)
    images = images_of(image)
    residual = np.stack([residual_of(one, planes) for one, planes in zip(images, told, strict=True)])
    np.testing.assert_allclose(image_of(residual, np.stack(told)), images, atol=1e-6)
    assert (abs(residual.std(axis=(0, 2, 3)) - 1) < 0.2).all()


def test_what_a_case_lacks_is_as_usual_and_what_all_lack_half_bright():
    nan = np.nan
    known = np.array([[[0.2], [0.4], [nan]], [[0.4], [nan], [nan]]], np.float32)
    styles = Styles((1, 16, 17), known, ({"site": "A"}, {"site": "B"}))
    np.testing.assert_allclose(styles.table(known[1])[[1, 16, 17], 0], [0.4, 0.4, 0.5], rtol=1e-6)
    drawn = styles.mixed({"site": "A"}, np.random.default_rng(0))
    np.testing.assert_allclose(drawn[1, 0], 0.2, rtol=1e-6)  # nobody else is of site A


def test_what_a_case_lacks_is_as_bright_as_usual_beside_what_it_has():
    usual = np.array([[0.2, 0.9, 0.05, 0.1], [0.1, 0.8, 0.02, 0.02], [0.4, 0.5, 0.03, 0.03], [0.8, 0.2, 0.04, 0.02]])
    known = np.repeat(usual[None], 9, axis=0)
    brighter = usual * [0.75, 1.25, 0.75, 1.25] + [0.25, -0.1, 0, 0]  # something dark in T1, and so on
    odd = brighter.copy()
    odd[0] = np.nan
    known[0, 0] = np.nan
    styles = Styles((1, 16, 17, 18), known, ({},) * 9)
    np.testing.assert_allclose(styles.table(odd)[[1, 16, 17, 18]], brighter, atol=1e-6)
    np.testing.assert_allclose(styles.table(known[0])[1], usual[0], atol=1e-6)
    few = np.full_like(odd, np.nan)
    few[1] = odd[1]  # through one point goes no line
    np.testing.assert_allclose(styles.table(few)[[1, 16]], [usual[0], odd[1]], atol=1e-6)


def test_a_line_goes_through_two_clusters_through_no_lesion_and_spreads_are_never_below_zero():
    usual = np.array([[0.2, 0.05], [0.6, 0.05], [0.1, 0.02], [0.5, 0.04], [0.9, 0.04]])
    styles = Styles((1, 2, 16, 17, 18), np.repeat(usual[None], 9, axis=0), ({},) * 9)
    odd = np.array([[np.nan, np.nan], [1.5, 0.3], [0.9, 0.02], [0.5, 0.04], [0.3, np.nan]])
    drawn = styles.table(odd)[[1, 2, 18]]
    np.testing.assert_allclose(drawn, [[0.8, 0.05], [1.5, 0.3], [0.3, 0.04]], atol=1e-6)  # bright where usually dark


@pytest.mark.parametrize("site", ["A", "B"])
def test_styles_are_drawn_beyond_those_alike_but_not_beyond_all(site):
    levels = np.array([0.2, 0.4, 0.4, 0.6, 0.6, 0.8])
    known = np.stack([levels, np.full(6, 0.1)], axis=1)[:, None]
    styles = Styles((16,), known, tuple({"site": "B" if 0.3 < level < 0.7 else "A"} for level in levels))
    rng = np.random.default_rng(0)
    drawn = np.array([styles.mixed({"site": site}, rng)[16, 0] for _ in range(500)])
    lowest, highest = (0.2, 0.8) if site == "A" else (0.3586, 0.6414)  # 0.1 (cos + sin) from 0.5
    np.testing.assert_allclose([drawn.min(), drawn.max()], [lowest, highest], atol=0.005)


def test_styles_are_drawn_between_cases_whose_lack_is_made_good_in_their_own_brightness():
    usual = np.array([[0.2, 0.05], [0.1, 0.02], [0.4, 0.03], [0.8, 0.04]])
    brighter = usual * [0.75, 0.75] + [0.25, 0]
    odd = np.where(np.arange(4)[:, None] == 0, np.nan, brighter)
    styles = Styles((1, 16, 17, 18), np.stack([usual] * 99 + [odd]), ({"site": "A"},) * 99 + ({"site": "B"},))
    drawn = styles.mixed({"site": "B"}, np.random.default_rng(0))[[1, 16, 17, 18]]
    np.testing.assert_allclose(drawn, brighter, atol=0.01)


def test_drawn_styles_vary_as_cases_do():
    rng = np.random.default_rng(0)
    known = rng.normal([0.5, 0.2], [0.1, 0.08], (40, 1, 2)).clip(0.05).astype(np.float32)
    styles = Styles((16,), known, ({},) * 40)
    drawn = np.array([styles.mixed({}, rng)[16] for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), known.mean((0, 1)), atol=0.01)
    np.testing.assert_allclose(drawn.std(0) / known.std((0, 1)), 1, atol=0.1)


def test_no_drawn_style_is_darker_brighter_or_more_varied_than_any_case():
    rng = np.random.default_rng(0)
    known = rng.normal([0.5, 0.2], [0.1, 0.08], (40, 2, 2)).clip(0.05).astype(np.float32)
    drawn = np.array([Styles((1, 16), known, ({},) * 40).mixed({}, rng)[[1, 16]] for _ in range(4000)])
    np.testing.assert_array_equal(drawn.min(0), known.min(0))  # some would be beyond
    np.testing.assert_array_equal(drawn.max(0), known.max(0))


def test_planes_are_mean_image_spread_lesion_and_head():
    codes = lesion_map()
    codes[0] = 0
    conditions = Conditions.of([1, 2, 16], ["site"], [{"site": "B"}, {"site": "A"}])
    table = np.zeros((256, 4), np.float32)
    table[16] = 1, 1, 2, 2
    planes = conditions.planes(np.moveaxis(codes, 2, 0), table)
    assert planes.shape == (2, conditions.channels(2), 12, 12)
    assert (planes[:, -1] == (np.moveaxis(codes, 2, 0) > 0)).all() and planes[0, 4].sum() == 16
    np.testing.assert_allclose(planes[1, 0, 1:], 1, rtol=1e-5)  # softened within the head, not across its border
    np.testing.assert_allclose(planes[1, 2, 1:], 2, rtol=1e-5)
    assert conditions.group({"site": "A"}) == 1 and conditions.group({"site": "Z"}) == 0


def test_a_voxel_is_as_bright_as_its_clusters_by_their_shares():
    codes = lesion_map()
    codes[..., 1] = 16
    shares = np.zeros((2, 2, 12, 12), np.float16)  # cluster, slice, x, y
    shares[0], shares[1] = 0.25, 0.75
    table = np.zeros((256, 1), np.float32)
    table[[1, 2, 16, 17], 0] = [5, 5, 1, 2]
    mean = Conditions.of([1, 2, 16, 17], [], []).planes(np.moveaxis(codes, 2, 0), table, shares)[:, 0]
    np.testing.assert_allclose(mean[1], 1.75, rtol=1e-3)
    np.testing.assert_allclose(mean[0, 5, 5], 5, rtol=1e-2)


def halves():
    """A lesion along the middle, between tissues of 0.2 and 0.8; itself it is 0.5."""
    codes = np.full((1, 24, 64), 16, np.uint8)
    codes[:, 12:], codes[:, :, 28:36] = 17, 2
    table = np.zeros((256, 1), np.float32)
    table[[2, 16, 17], 0] = 0.5, 0.2, 0.8
    return Conditions.of([2, 16, 17], [], []), codes, table


def test_a_lesion_fades_into_the_tissue_it_lies_in_whatever_that_is():
    conditions, codes, table = halves()
    mean = conditions.planes(codes, table)[0, 0]
    for x, tissue in ((4, 0.2), (20, 0.8)):
        across = (mean[x, 24:32] - tissue) / (0.5 - tissue)  # four pixels of tissue, four of the lesion
        assert (np.diff(across) > 0).all()
        np.testing.assert_allclose(across[[3, 4]], ndtr([-0.5, 0.5]), atol=0.01)  # an edge under a Gaussian of 1
        np.testing.assert_allclose(across[[0, 7]], [0, 1], atol=0.01)


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 2.0])
def test_the_width_of_the_border_is_that_of_the_patients(width):
    _, codes, table = halves()
    rng, conditions = np.random.default_rng(0), Conditions.of([2, 16, 17], [], [], fade=width)
    image = np.moveaxis(conditions.planes(codes, table)[:, :1], 0, 3)
    cases = [(image + rng.normal(0, 0.02, image.shape), np.moveaxis(codes, 0, 2)) for _ in range(4)]
    assert fade_of(cases, [2, 16, 17]) == width


def test_the_width_is_that_of_all_cases_together():
    _, codes, table = halves()

    def case(width):
        image = Conditions.of([2, 16, 17], [], [], fade=width).planes(codes, table)[:, :1]
        return np.moveaxis(image, 0, 3), np.moveaxis(codes, 0, 2)

    assert fade_of([case(0.25), *[case(2.0)] * 3], [2, 16, 17]) > 0.25


@pytest.mark.parametrize(("fade", "width"), [(0.25, 0.25), (0.5, 0.5), (2.0, 0.75)])
def test_parts_of_a_lesion_pass_into_one_another_no_wider_than_its_border(fade, width):
    codes = np.full((1, 24, 48), 16, np.uint8)
    codes[:, :, 8:24], codes[:, :, 24:40] = 1, 2
    table = np.zeros((256, 1), np.float32)
    table[[1, 2, 16], 0] = 0.0, 1.0, 0.5
    across = Conditions.of([1, 2, 16], [], [], fade=fade).planes(codes, table)[0, 0, 12, 22:26]
    weights = np.exp(-0.5 * (np.arange(-8, 9) / width) ** 2)
    edge = np.convolve(np.arange(40) >= 20, weights / weights.sum(), "same")[18:22]
    np.testing.assert_allclose(across, edge, atol=0.01)


def test_shares_are_softened_less_since_reading_them_has_softened_them():
    codes = np.full((1, 12, 24), 16, np.uint8)
    codes[:, :, 12:] = 17
    shares = np.stack([codes == 16, codes == 17]).astype(np.float16)
    table = np.zeros((256, 1), np.float32)
    table[17] = 1
    conditions = Conditions.of([16, 17], [], [])
    own, read = conditions.planes(codes, table)[0, 0, 6, 11], conditions.planes(codes, table, shares)[0, 0, 6, 11]
    np.testing.assert_allclose([own, read], [0.107, 0.003], atol=0.002)  # a Gaussian of 0.5 and 0.29 pixels


def test_a_label_is_never_brighter_than_an_image_can_be():
    codes = np.full((12, 12, 64), 16, np.uint8)
    codes[6, 6] = 2  # in each slice a single voxel, most of which is what lies around it
    image = np.full((2, *codes.shape), 0.1)
    image[0, codes == 2], image[1, codes == 16], image[1, codes == 2] = 1.2, 1.0, 0.0
    style = style_of(image, codes, [2, 16], 1.0)
    np.testing.assert_allclose(style[0, :2], [BRIGHTEST, 0], atol=1e-6)


def test_nothing_is_painted_outside_the_head():
    codes = np.zeros((1, 12, 12), np.uint8)
    codes[:, 3:], codes[:, 3:6, 3:8] = 16, 2
    table = np.ones((256, 1), np.float32)
    mean = Conditions.of([2, 16], [], []).planes(codes, table)[0, 0]
    assert not mean[:3].any()
    np.testing.assert_allclose(mean[3:], 1, atol=0.02)


def test_a_lesion_does_not_fade_into_the_outside_of_the_head_and_a_single_voxel_does_not_vanish():
    codes = np.zeros((2, 9, 9), np.uint8)
    codes[0, 2:7, 2:7], codes[1] = 2, 16
    codes[1, 4, 4] = 2
    table = np.zeros((256, 1), np.float32)
    table[[2, 16], 0] = 1.0, 0.5
    mean = Conditions.of([2, 16], [], []).planes(codes, table)[:, 0]
    np.testing.assert_allclose(mean[0, 2:7, 2:7], 1, rtol=1e-5)
    assert not mean[0, :2].any()
    np.testing.assert_allclose(mean[1, 4, 4], 0.845, atol=0.01)


@pytest.mark.parametrize("fade", [0.25, 1.25, 2.0])
def test_a_lesion_is_painted_alike_in_a_larger_head(fade):
    rng = np.random.default_rng(0)
    codes = rng.integers(16, 19, (2, 64, 80), np.uint8)
    codes[:, 30:36, 40:44], codes[0, 33:39, 42:49] = 2, 1
    table = rng.random((256, 2)).astype(np.float32)
    conditions = Conditions.of([1, 2, 16, 17, 18], [], [], fade=fade)
    large, far = conditions.planes(codes, table)[:, :1], codes.copy()
    far[1, 0, 0] = 2  # so that nothing is left out
    np.testing.assert_array_equal(conditions.planes(far, table)[0, 0], large[0, 0])
    small = conditions.planes(codes[:, 10:60, 20:70], table)[:, :1]
    np.testing.assert_array_equal(small[..., 5:-5, 5:-5], large[..., 15:55, 25:65])


def test_volumes_are_as_their_slices():
    conditions, codes, table = halves()
    both = np.stack([codes[0], np.full_like(codes[0], 16)], axis=2)[None]
    planes = conditions.planes(both, table)
    np.testing.assert_allclose(planes[0, 0, ..., 0], conditions.planes(codes, table)[0, 0], rtol=1e-6)
    np.testing.assert_allclose(planes[0, 0, ..., 1], 0.2, rtol=1e-5)
