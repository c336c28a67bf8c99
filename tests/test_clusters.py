import numpy as np
import pytest
from sklearn.cluster import KMeans

from synthgate.errors import CohortError
from synthgate.generators.clusters import assign, fit, standardised


def blobs(rng):
    middles = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.2], [0.6, 0.95]])
    return np.concatenate([rng.normal(middle, 0.05, (400, 2)) for middle in middles]), middles


def test_planted_clusters_are_found_as_scikit_learn_finds_them():
    points, middles = blobs(np.random.default_rng(0))
    centres = fit(points, 4, np.random.default_rng(1))
    other = KMeans(4, n_init=5, random_state=0).fit(points).cluster_centers_
    other = other[np.argsort(other.mean(1))]
    np.testing.assert_allclose(centres, other, atol=1e-4)
    np.testing.assert_allclose(centres, middles[np.argsort(middles.mean(1), kind="stable")], atol=0.02)


def test_fitting_is_a_function_of_points_and_rng():
    points, _ = blobs(np.random.default_rng(0))
    first, second = (fit(points, 4, np.random.default_rng(1)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_each_point_goes_to_its_nearest_centre():
    rng = np.random.default_rng(0)
    features, centres = rng.normal(size=(3, 200)), rng.normal(size=(5, 3))
    brute = [min(range(5), key=lambda c: np.linalg.norm(f - centres[c])) for f in features.T]
    assert assign(features, centres).tolist() == brute


def test_too_plain_an_image_is_refused():
    with pytest.raises(CohortError, match="lower `clusters`"):
        fit(np.ones((50, 2)), 3, np.random.default_rng(0))


def test_nothing_outside_the_mask_is_averaged_in():
    inside = np.zeros((12, 12, 4), bool)
    inside[3:9, 3:9] = True
    rng = np.random.default_rng(0)
    image = rng.random((2, 12, 12, 4)).astype(np.float32)
    disturbed = np.where(inside, image, 99.0).astype(np.float32)
    one, other = (standardised(i, inside, 1, 0) for i in (image, disturbed))
    np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(one[:, inside].mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(one[:, inside].std(1), 1, atol=1e-4)
    assert not one[:, ~inside].any()


def test_shading_is_no_tissue():
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 48, 6)), indexing="ij")
    inside = x**2 + y**2 < 0.9
    tissue = (np.floor(6 * x) + np.floor(6 * y)).astype(int) % 3  # small and everywhere
    shading = 1 + 0.5 * x + 0.2 * y
    rng = np.random.default_rng(0)
    image = np.stack([level[tissue] * shading for level in (np.array([1.0, 2, 3]), np.array([3.0, 1, 2]))])
    image = ((image + rng.normal(0, 0.05, image.shape)) * inside).astype(np.float32)

    def wrong(features):
        """Share of voxels that are not of the tissue that most of their cluster is of."""
        centres = fit(features.T[::5], 3, np.random.default_rng(1))
        found = assign(features, centres)
        return 1 - sum(np.bincount(tissue[inside][found == cluster]).max() for cluster in range(3)) / inside.sum()

    flat = image[:, inside]
    plain = wrong((flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True))
    assert wrong(standardised(image, inside, 0, 0)[:, inside]) < plain / 2
