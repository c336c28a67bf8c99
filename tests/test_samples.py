import dataclasses

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from tiny_measured import PARAMS, batch, numbers, reference

from synthgate.gate import samples
from synthgate.gate.measured import stack
from synthgate.stats.nulls import Adjusted

REFERENCE = reference()


@pytest.mark.parametrize(("count", "donors", "size"), [(60, 40, 20), (60, 7, 7), (3, 3, 3), (1, 1, 1)])
def test_a_sub_batch_has_one_case_a_donor_and_at_most_a_third_as_many_as_patients(count, donors, size):
    table = batch(count, donors=donors)
    drawn = samples.draws(table, REFERENCE, PARAMS)
    assert len(drawn) == PARAMS.draws
    for chosen in drawn:
        assert len(chosen) == len(set(table.group[chosen])) == size
    again = samples.draws(table, REFERENCE, PARAMS)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_draws_differ_and_reach_every_case_of_a_donor():
    table = batch(60, donors=10)
    drawn = samples.draws(table, REFERENCE, dataclasses.replace(PARAMS, draws=100))
    assert set(np.concatenate(drawn)) == set(range(60))


def test_relabellings_keep_patients_whole_and_exchange_the_batch_case_by_case():
    twice = REFERENCE.rows(np.repeat(np.arange(30), 2))
    masks = samples.labels(10, twice, PARAMS, 0, 0.02)
    assert masks.shape == (100, 70)
    assert masks[0].tolist() == [True] * 10 + [False] * 60
    assert (masks[:, 10::2] == masks[:, 11::2]).all()
    assert (masks[:, :10].sum(axis=1) + masks[:, 10::2].sum(axis=1) == 10).all()
    assert masks[1:, :10].any() and masks[1:, 10:].any()


@pytest.mark.parametrize(
    ("count", "patients", "error"),
    [(1, 60, 0.04), (5, 1, 0.04), (2, 2, 0.04), (2, 6, 0.02), (20, 40, 0.009)],
    ids=["one case", "one patient", "6 relabellings", "28 relabellings", "99 permutations"],
)
def test_where_nothing_could_be_refused_there_is_no_test(count, patients, error):
    assert samples.labels(count, REFERENCE.rows(np.arange(patients)), PARAMS, 0, error) is None


def test_a_handful_of_cases_can_be_refused():
    assert samples.labels(2, REFERENCE.rows(np.arange(9)), PARAMS, 0, 0.02) is not None  # 55 relabellings


def test_the_space_is_that_of_the_reference_library():
    rows = np.random.default_rng(0).normal(size=(30, 6)) @ np.random.default_rng(1).normal(size=(6, 6)) * 100
    ours = samples.Space.of(rows, 3)(rows)
    theirs = PCA(3).fit_transform(StandardScaler().fit_transform(rows))
    assert np.allclose(np.abs(ours), np.abs(theirs))


def test_undefined_infinite_and_constant_columns_are_left_out():
    rows = np.random.default_rng(0).normal(size=(12, 5))
    rows[3:5, 0], rows[4:6, 1], rows[:, 2] = np.nan, np.inf, 7
    space = samples.Space.of(rows, 8)
    assert space.kept.tolist() == [3, 4]
    assert np.isfinite(space(rows)).all() and space(rows).shape == (12, 2)
    assert samples.Space.of(rows[:, :3], 8)(rows[:, :3]).shape == (12, 0)


def test_what_a_case_lacks_counts_as_the_mean_and_a_case_that_lacks_most_is_undefined():
    rows = np.random.default_rng(0).normal(size=(20, 4))
    rows[3, 0] = np.nan
    space = samples.Space.of(rows, 4)
    assert space.kept.tolist() == [0, 1, 2, 3]
    filled = np.where(np.isnan(rows), np.nanmean(rows, axis=0), rows)
    scaled = (filled - filled.mean(axis=0)) / np.nanstd(rows, axis=0)
    assert np.allclose(space(rows), scaled @ space.axes.T) and np.allclose(space.axes @ space.axes.T, np.eye(4))
    worse = np.concatenate([rows, np.where(np.arange(4) < 3, np.nan, rows[:1])])
    found = samples.Space.of(worse, 4)(worse)
    assert np.isfinite(found[:-1]).all() and np.isnan(found[-1]).all()


def test_the_median_is_taken_statistic_by_statistic():
    draws = [Adjusted(*(np.array([x, -x]) for _ in dataclasses.fields(Adjusted))) for x in (1.0, 5.0, 2.0)]
    found = samples.median_of(draws)
    assert found.p.tolist() == found.limit.tolist() == [2, -2]


def test_a_statistic_without_a_limit_is_undefined_whatever_its_p():
    assert samples.outcome(0.03, 1.0, 0.04) == "failed"
    assert samples.outcome(0.05, 1.0, 0.04) == "passed"
    assert samples.outcome(1.0, np.inf, 0.04) == "undefined"


def test_a_donor_is_told_from_the_patient_they_also_are():
    one = numbers(4, 9, "synthetic", ("a", "b", "c", "d"))
    both = stack([numbers(30, 9), one])
    assert samples.labels(len(one), both, PARAMS, 0, 0.04) is not None
