"""Neighbours against brute force, scikit-learn and prdc; a neighbour is always another patient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from synthgate.stats import balls
from synthgate.stats.neighbours import distance_ratios, nearest_ratio, nearest_two, neighbourhood, one_nn_accuracy


def test_first_and_second_come_from_two_other_patients():
    rng = np.random.default_rng(0)
    own, others = rng.integers(0, 6, 12).astype(str), rng.integers(0, 6, 20).astype(str)
    distances = cdist(rng.normal(size=(12, 3)), rng.normal(size=(20, 3)))
    near = nearest_two(distances, own, others)
    for row, mine in enumerate(own):
        order = [i for i in np.argsort(distances[row]) if others[i] != mine]
        second = next(i for i in order if others[i] != others[order[0]])
        assert (near.first_index[row], near.second_index[row]) == (order[0], second)
        assert near.first[row] == distances[row, order[0]] and near.second[row] == distances[row, second]


def test_no_other_patient_is_told_by_minus_one():
    near = nearest_two(np.ones((1, 2)), ["a"], ["a", "a"])
    assert near.first_index[0] == near.second_index[0] == -1 and np.isinf(near.first[0])
    near = nearest_two(np.ones((1, 2)), ["x"], ["a", "a"])
    assert near.first_index[0] == 0 and near.second_index[0] == -1
    assert distance_ratios(near) is None
    assert nearest_two(np.ones((2, 0)), ["x", "y"], []).first_index.tolist() == [-1, -1]


def test_distance_ratio_is_near_zero_for_a_copy_and_one_for_a_tie():
    near = nearest_two(np.array([[0.01, 1.0, 2.0], [0.0, 0.0, 5.0]]), ["x", "y"], ["a", "b", "c"])
    assert distance_ratios(near).tolist() == pytest.approx([0.01, 1.0])


def test_one_nn_accuracy_leaves_the_own_patient_out():
    rng = np.random.default_rng(1)
    people = rng.normal(size=(40, 6))
    slices = np.repeat(people, 5, axis=0) + rng.normal(0, 0.05, (200, 6))
    groups = np.repeat(np.arange(40), 5).astype(str)
    first = np.arange(200) < 100
    naive = one_nn_accuracy(slices[first], slices[~first], np.arange(100).astype(str), np.arange(100, 200).astype(str))
    assert naive > 0.95
    assert one_nn_accuracy(slices[first], slices[~first], groups[first], groups[~first]) == pytest.approx(0.5, abs=0.17)


def test_one_nn_accuracy_is_the_balanced_one_of_sklearn():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(30, 4)), rng.normal(0.8, 1, size=(12, 4))
    pooled, source = np.concatenate([a, b]), np.repeat([0, 1], [30, 12])
    index = NearestNeighbors(n_neighbors=2).fit(pooled).kneighbors(return_distance=True, X=pooled)[1][:, 1]
    hit = source[index] == source
    expected = (hit[:30].mean() + hit[30:].mean()) / 2
    ids = np.arange(42).astype(str)
    assert one_nn_accuracy(a, b, ids[:30], ids[30:]) == pytest.approx(expected)
    assert one_nn_accuracy(a, b[:1], ids[:30], ids[30:31]) is None


def test_nearest_ratio_is_one_for_the_same_law_and_small_for_copies():
    rng = np.random.default_rng(3)
    train, unseen = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    ids = np.arange(400).astype(str)
    assert nearest_ratio(train, unseen, ids[:200], ids[200:]) == pytest.approx(1, abs=0.12)
    assert nearest_ratio(train, train + 1e-6, ids[:200], ids[200:]) < 1e-3
    assert nearest_ratio(train * 0, unseen, ids[:200], ids[200:]) is None
    assert nearest_ratio(train[:1], unseen, ids[:1], ids[200:]) is None
    assert nearest_ratio(train, unseen[:0], ids[:200], ids[:0]) is None


def test_neighbourhood_equals_the_definition():
    rng = np.random.default_rng(4)
    real, fake, k = rng.normal(size=(25, 3)), rng.normal(0.5, 0.7, size=(18, 3)), 3
    found = neighbourhood(real, fake, k)
    radius = {}
    for name, part in (("real", real), ("fake", fake)):
        radius[name] = NearestNeighbors(n_neighbors=k + 1).fit(part).kneighbors(part)[0][:, k]
    inside = [[np.linalg.norm(r - f) < radius["real"][i] for i, r in enumerate(real)] for f in fake]
    covered = [[np.linalg.norm(r - f) < radius["fake"][j] for j, f in enumerate(fake)] for r in real]
    assert found.precision == pytest.approx(np.mean(np.any(inside, axis=1)))
    assert found.recall == pytest.approx(np.mean(np.any(covered, axis=1)))
    assert found.density == pytest.approx(np.sum(inside) / (k * len(fake)))
    assert found.coverage == pytest.approx(np.mean(np.any(np.array(inside).T, axis=1)))


def test_neighbourhood_is_undefined_for_too_few_or_identical_cases():
    rng = np.random.default_rng(5)
    real = rng.normal(size=(10, 2))
    assert neighbourhood(real, real[:3], 3) is None
    assert neighbourhood(real, np.ones((9, 2)), 3) is None
    assert neighbourhood(real, real, 0) is None


def everything(real: np.ndarray, fake: np.ndarray, k: int) -> list[float]:
    """The four measures by double loops over float64 differences."""

    def squares(a, b):
        return np.array([[((x - y) ** 2).sum() for y in b] for x in a])

    of_real, of_fake = (np.sort(squares(part, part), axis=1)[:, k] for part in (real, fake))
    across = squares(real, fake)
    inside = across < of_real[:, None]
    return [
        inside.any(axis=0).mean(),
        (across < of_fake).any(axis=1).mean(),
        inside.sum() / (k * len(fake)),
        inside.any(axis=1).mean(),
    ]


def found(real: np.ndarray, fake: np.ndarray, k: int) -> list[float]:
    return list(vars(neighbourhood(real, fake, k)).values())


@given(
    st.integers(1, 6).flatmap(
        lambda d: st.tuples(*[st.lists(st.tuples(*[st.integers(-3, 3)] * d), min_size=6, max_size=14)] * 2)
    ),
    st.integers(1, 5),
    st.sampled_from([1.0, 2.0**-40, 2.0**40]),
)
@settings(max_examples=60, deadline=None)
def test_neighbourhood_decides_ties_and_copies_as_the_differences_do(rows, k, unit):
    # small whole numbers: nearly every comparison is one of equal distances
    real, fake = (np.array(part, float) * unit for part in rows)
    expected = everything(real / unit, fake / unit, k)
    around = neighbourhood(real, fake, k)
    if around is None:
        assert any((np.sort(cdist(part, part), axis=1)[:, k] == 0).all() for part in (real, fake))
    else:
        assert list(vars(around).values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    "kind", ["plain", "offset", "outlier", "copies", "near-copies", "collapsed", "k above a group"]
)
def test_neighbourhood_is_exact_over_many_tiles(kind, monkeypatch):
    monkeypatch.setattr(balls, "GROUPS", 16)
    monkeypatch.setattr(balls, "TILE", 64)
    monkeypatch.setattr(balls, "CANDIDATES", 500)
    monkeypatch.setattr(balls, "PAIRS", 100)
    rng = np.random.default_rng(6)
    real, fake, k = rng.normal(size=(150, 7)), rng.normal(0.3, 0.8, size=(201, 7)), 2
    if kind == "offset":
        real, fake = real + 1e6, fake + 1e6
    elif kind == "outlier":
        real[3] = 1e9
    elif kind == "copies":
        fake = np.concatenate([real[::-1], real[:40]])
    elif kind == "near-copies":
        fake = real * (1 + 1e-9)
    elif kind == "collapsed":
        fake = fake[rng.integers(0, 2, 201)] + rng.normal(0, 1e-9, size=(201, 7))
    elif kind == "k above a group":
        k = 40
    assert found(real, fake, k) == pytest.approx(everything(real, fake, k))


def test_neighbourhood_is_that_of_prdc(capsys):
    prdc = pytest.importorskip("prdc")
    rng = np.random.default_rng(7)
    real, fake = rng.normal(size=(1300, 32)).astype(np.float32), rng.normal(0.1, 0.9, size=(900, 32)).astype(np.float32)
    expected = prdc.compute_prdc(real, fake, nearest_k=5)
    assert vars(neighbourhood(real, fake, 5)) == pytest.approx(expected, rel=1e-4)


def test_neighbourhood_needs_finite_numbers_and_takes_very_large_ones():
    rng = np.random.default_rng(8)
    real, fake = rng.normal(size=(30, 3)), rng.normal(size=(30, 3))
    assert found(real * 1e200, fake * 1e200, 3) == found(real, fake, 3)
    real[4, 1] = np.nan
    assert neighbourhood(real, fake, 3) is None
    assert neighbourhood(fake, fake * np.inf, 3) is None
