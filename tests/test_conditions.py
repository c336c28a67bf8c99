import numpy as np

from synthgate.generators.learned.conditions import (
    Conditions,
    Styles,
    classes_of,
    image_of,
    plain_of,
    residual_of,
    style_of,
    zones,
)  # fmt: skip


def lesion_map():
    codes = np.full((12, 12, 2), 16, np.uint8)
    codes[2:10, 2:10, 0] = 2
    codes[4:8, 4:8, 0] = 1
    return codes


def test_the_outermost_pixels_of_a_lesion_are_zones_of_their_own():
    found = zones(np.moveaxis(lesion_map(), 2, 0))
    assert found[0, 2, 5] == 2 + 128 and found[0, 3, 5] == 2 + 144 and found[0, 5, 5] == 1
    assert (found[1] == 16).all()  # no rim without a lesion in the slice
    assert (found == 130).sum() == 28 and (found == 146).sum() == 20
    assert found[0, 1, 5] == 16 + 32 and found[0, 0, 5] == 16 + 64 and found[0, 0, 0] == 16
    assert (found == 48).sum() == 32 and (found == 80).sum() == 36  # 8 on each side; then as many and a corner each


def test_every_zone_knows_what_it_is_made_from():
    values = [*range(1, 16), *range(16, 28)]
    zone = classes_of(values)
    assert len(set(zone)) == len(zone) == 3 * len(values) and max(zone) < 256
    assert [plain_of(value) for value in zone] == [*values, *[*range(1, 16)] * 2, *[*range(16, 28)] * 2]


def test_a_style_is_that_of_the_zones_and_nan_where_there_are_few():
    codes, classes = lesion_map(), classes_of([1, 2, 16])
    zone = np.moveaxis(zones(np.moveaxis(codes, 2, 0)), 0, 2)
    image = np.stack([zone.astype(float), 2.0 * zone + np.random.default_rng(0).normal(0, 3, zone.shape)])
    style = dict(zip(classes, style_of(image, codes, classes), strict=True))
    for value in (48, 130, 1, 16):
        there = image[1][zone == value]
        np.testing.assert_allclose(style[value], [value, there.mean(), 0.01, there.std()], rtol=1e-5)
    assert np.isnan(style[129]).all() and np.isnan(style[145]).all()


def test_an_image_is_had_again_from_its_residual_which_is_as_strong_in_every_zone_and_channel():
    codes, classes = lesion_map(), classes_of([1, 2, 16])
    rng = np.random.default_rng(0)
    image = (0.5 + np.array([0.3, 0.01])[:, None, None, None] * rng.normal(size=(2, *codes.shape))).astype(np.float32)
    table = Styles(classes, style_of(image, codes, classes)[None], ({},)).table(style_of(image, codes, classes))
    [*told] = Conditions.of([1, 2, 16], [], []).planes(np.moveaxis(codes, 2, 0), table)
    images = np.moveaxis(image, 3, 0)
    residual = np.stack([residual_of(one, planes) for one, planes in zip(images, told, strict=True)])
    np.testing.assert_allclose(image_of(residual, np.stack(told)), images, atol=1e-6)
    assert (abs(residual.std(axis=(0, 2, 3)) - 1) < 0.2).all()


def test_what_a_case_lacks_is_as_usual_and_a_rim_that_nobody_has_as_its_lesion():
    classes = classes_of([1, 16])
    one, other = np.full((2, len(classes), 1), np.nan, np.float32)
    one[:2, 0], other[:2, 0] = (0.2, 0.4), (0.4, np.nan)
    styles = Styles(classes, np.stack([one, other]), ({"site": "A"}, {"site": "B"}))
    table = styles.table(other)
    np.testing.assert_allclose(table[[1, 16, 129, 145, 48, 80], 0], [0.4, 0.4, 0.3, 0.3, 0.4, 0.4], rtol=1e-6)
    drawn = styles.mixed({"site": "A"}, np.random.default_rng(0))
    np.testing.assert_allclose(drawn[1, 0], 0.2, rtol=1e-6)  # nobody else is of site A


def test_drawn_styles_vary_as_cases_do():
    rng = np.random.default_rng(0)
    known = rng.normal([0.5, 0.2], [0.1, 0.08], (40, 1, 2)).clip(0.05).astype(np.float32)
    styles = Styles((16,), known, ({},) * 40)
    drawn = np.array([styles.mixed({}, rng)[16] for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), known.mean((0, 1)), atol=0.01)
    np.testing.assert_allclose(drawn.std(0) / known.std((0, 1)), 1, atol=0.1)
    assert (drawn >= known.min((0, 1)) / 2).all() and drawn.min() == known.min() / 2  # a spread is never below 0


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


def test_a_voxel_is_as_bright_as_its_clusters_by_their_shares_and_a_lesion_as_its_own_class():
    codes = lesion_map()
    codes[..., 1] = 16
    shares = np.zeros((2, 2, 12, 12), np.float16)  # cluster, slice, x, y
    shares[0], shares[1] = 0.25, 0.75
    table = np.zeros((256, 1), np.float32)
    table[[1, 2, 16, 17, 48, 49, 80, 81], 0] = [5, 5, 1, 2, 3, 4, 6, 8]
    table[[129, 130, 145, 146], 0] = 5
    maps = np.moveaxis(codes, 2, 0)
    mean = Conditions.of([1, 2, 16, 17], [], []).planes(maps, table, shares)[:, 0]
    np.testing.assert_allclose(mean[1], 1.75, rtol=1e-3)
    np.testing.assert_allclose(mean[0, 5, 5], 5, rtol=1e-3)
    assert 3.75 < mean[0, 1, 5] < 7.5 and mean[0, 1, 5] < mean[0, 0, 5]  # 3.75 and 7.5, softened
