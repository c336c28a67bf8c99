import numpy as np
from tiny_heads import planted

from synthgate.generators.anatomy import FIRST_CLUSTER, Anatomy
from synthgate.generators.contrast import VISIBLE, Contrast, Statistics, draw, render

CLASSES = (1, 2, 16, 17, 18)
STATISTICS = Statistics(
    CLASSES,
    mean=np.array([[0.2, 0.6], [0.5, 0.6], [0.1, 0.6], [0.5, 0.6], [0.9, 0.6]]),
    sd=np.full((5, 2), 0.05),
    texture=np.full((5, 2), 0.05),
    share=np.array([0.05, 0.05, 0.3, 0.3, 0.3]),
)


def anatomy():
    clusters, label = planted(0)
    codes = np.where(label > 0, label, np.where(clusters >= 0, FIRST_CLUSTER + clusters, 0)).astype(np.uint8)
    return Anatomy(codes, ("a",), (2.0, 2.0, 5.0), {})


def test_every_lesion_class_stands_out_in_some_channel():
    for seed in range(50):
        means = draw(STATISTICS, np.random.default_rng(seed)).means
        around = STATISTICS.share[2:] @ means[2:] / STATISTICS.share[2:].sum()
        assert (np.abs(means[:2] - around).max(1) > VISIBLE - 0.05).all()


def test_contrast_is_random_between_cases_and_follows_the_real_one_on_average():
    means = np.stack([draw(STATISTICS, np.random.default_rng(seed)).means for seed in range(300)])
    assert (means.std(0)[2:] > 0.1).all()
    assert means[:, 4, 0].mean() > means[:, 3, 0].mean() > means[:, 2, 0].mean()
    difference = means[:, 0, 0] - means[:, 2:, 0].mean(1)
    assert (difference < 0).mean() > 0.9  # a dark lesion stays a dark one


def test_an_image_keeps_the_stores_convention():
    made = anatomy()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        image = render(made, draw(STATISTICS, rng), CLASSES, (1.0, 99.0), rng)
        head = made.map > 0
        assert image.dtype == np.float32 and np.isfinite(image).all()
        assert not image[:, ~head].any()
        assert image.min() >= 0 and image.max() <= 1.5
        for channel in image:
            # clipping at 0 moves the first percentile to just 0 and leaves the other
            np.testing.assert_allclose(np.percentile(channel[head], [1, 99]), [0, 1], atol=1e-3)


def test_without_disturbances_the_image_is_the_table_of_means():
    made = anatomy()
    means = np.array([[0.1, 1.0], [0.2, 0.8], [0.3, 0.6], [0.4, 0.4], [0.5, 0.2]])
    still = Contrast(means, np.zeros((5, 2)), np.ones(2), np.zeros(2), np.zeros(2), 0.0, 0.0)
    image = render(made, still, CLASSES, (0.0, 100.0), np.random.default_rng(0))
    for row, value in enumerate(CLASSES):
        low, high = means.min(0), means.max(0)
        expected = (means[row] - low) / (high - low)
        np.testing.assert_allclose(image[:, made.map == value].T, np.tile(expected, ((made.map == value).sum(), 1)),
                                   atol=1e-5)  # fmt: skip


def test_the_lesions_rim_is_softer_than_other_borders():
    made = anatomy()
    means = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    sharp, soft = (
        render(made, Contrast(means, np.zeros((5, 2)), np.ones(2), np.zeros(2), np.zeros(2), 0.3, rim), CLASSES,
               (0.0, 100.0), np.random.default_rng(0))[0] for rim in (0.3, 1.5)
    )  # fmt: skip
    between = [((image > 0.1) & (image < 0.9)).sum() for image in (sharp, soft)]
    assert between[1] > 1.5 * between[0]
