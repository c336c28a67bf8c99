import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from synthgate.stats.distances import pairwise
from synthgate.stats.membership import authenticity, membership, smallest_leak

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(30, 4))
GROUPS = np.array([f"p{i}" for i in range(30)])


def test_authenticity_by_hand():
    real = np.array([[0.0], [1.0], [10.0]])
    cases = np.array([[0.1], [2.5], [10.0]])
    # nearest 0 (its neighbour 1 away, the case 0.1): a copy; nearest 1 (1 away, the case 1.5): authentic; 10: a copy
    assert authenticity(pairwise(cases, real), pairwise(real, real), ["a", "b", "c"]) == pytest.approx(1 / 3)


def test_authenticity_is_to_another_patient_not_to_another_case():
    real = np.array([[0.0], [0.01], [5.0]])
    cases = np.array([[0.5]])
    assert authenticity(pairwise(cases, real), pairwise(real, real), ["a", "a", "b"]) == 0
    assert authenticity(pairwise(cases, real), pairwise(real, real), ["a", "c", "b"]) == 1


def test_authenticity_is_undefined_without_cases_or_other_patients():
    assert authenticity(np.zeros((0, 3)), np.zeros((3, 3)), ["a", "b", "c"]) is None
    assert authenticity(np.zeros((2, 1)), np.zeros((1, 1)), ["a"]) is None


def test_membership_is_the_area_under_the_curve():
    members, others = RNG.normal(0, 1, 40).round(1), RNG.normal(0.5, 1, 15).round(1)
    found = membership(members, others, 99, np.random.default_rng(1))
    truth = np.repeat([1, 0], [40, 15])
    assert found.area == pytest.approx(roc_auc_score(truth, -np.concatenate([members, others])))


def test_members_who_are_nearer_are_told_and_others_are_not():
    near, far = RNG.normal(0, 1, 40), RNG.normal(3, 1, 15)
    told = membership(near, far, 199, np.random.default_rng(1))
    assert told.area > told.control[1] and told.p == pytest.approx(1 / 200)
    alike = [membership(RNG.normal(size=40), RNG.normal(size=15), 99, np.random.default_rng(i)).p for i in range(60)]
    assert np.mean(np.array(alike) <= 0.05) < 0.2


def test_identical_distances_cannot_tell_anybody():
    found = membership(np.ones(20), np.ones(10), 99, np.random.default_rng(0))
    assert (found.area, found.control, found.p) == (0.5, (0.5, 0.5), 1.0)


def test_membership_is_undefined_for_few():
    assert membership(np.ones(9), np.ones(10), 9, RNG) is None
    assert membership(np.ones(20), np.ones(4), 9, RNG) is None


def test_the_smallest_leak():
    assert smallest_leak(50, 0.9) == pytest.approx(3 / 45)
    assert smallest_leak(2, 0.9) == 1
    # (1 - share)^(cases · sensitivity) is about 5 % there
    assert (1 - smallest_leak(1000, 0.5)) ** 500 == pytest.approx(0.05, abs=0.002)
    assert smallest_leak(50, 0) is smallest_leak(50, None) is smallest_leak(0, 1.0) is None
