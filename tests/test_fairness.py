import dataclasses
import json

import numpy as np
import pytest
from tiny_measured import batch, changed, reference, trial

from synthgate.gate import fairness
from synthgate.gate.groups import OTHER, UNKNOWN, groups
from synthgate.stats.intervals import difference

REFERENCE = reference()
BATCH = batch(40)


def stating(table, **columns):
    """The table with these attributes, one value per case; None is not stated."""
    rows = [{k: v[i] for k, v in columns.items() if v[i] is not None} for i in range(len(table))]
    return changed(table, attributes=np.array([json.dumps(row) for row in rows]))


def judged(table, real=REFERENCE, **known):
    return {f.name: f for f in fairness.judge(trial(table, real, **known))}


def test_a_batch_like_the_patients_passes():
    assert {f.outcome for f in judged(BATCH).values()} == {"passed"}


@pytest.mark.parametrize("intent", ["realistic", "training-only"])
def test_a_batch_of_one_sex_is_limited_and_the_shares_are_told(intent):
    found = judged(stating(BATCH, sex=["F"] * 40, site=["A", "B"] * 20), intent=intent)["shares_sex"]
    assert (found.outcome, found.weight) == ("failed", "limits")
    assert "F 100% of it" in found.sentence and "M 0% of it" in found.sentence


def test_shares_of_equal_groups_are_hardly_ever_refused():
    rng = np.random.default_rng(1)
    refused = 0
    for n in range(60):
        real = stating(reference(2 * n), sex=rng.choice(["F", "M"], 60).tolist(), site=["A"] * 60)
        ours = stating(batch(20, 700 + n), sex=rng.choice(["F", "M"], 20).tolist(), site=["A"] * 20)
        refused += judged(ours, real)["shares_sex"].outcome == "failed"
    assert refused <= 5


def test_a_wish_is_what_the_shares_are_held_against():
    women = stating(BATCH, sex=["F"] * 40, site=["A", "B"] * 20)
    assert judged(women, wish={"sex": {"F": 1.0}})["shares_sex"].outcome == "passed"
    found = judged(BATCH, wish={"sex": {"F": 1.0}})["shares_sex"]
    assert found.outcome == "failed" and found.value == 0
    assert judged(women, wish={"sex": {"F": 0.5, "M": 0.5}})["shares_sex"].outcome == "failed"


def test_a_wish_for_ages_has_bands_of_its_own():
    wish = {"age": {"50..70": 0.5, "70..": 0.5}}
    params = dataclasses.replace(trial(BATCH, REFERENCE).params, attributes=("age",))
    real = stating(REFERENCE, age=[str(20 + i) for i in range(len(REFERENCE))])
    old = stating(BATCH, age=["50", "69.5", "70", "91"] * 10)
    found = judged(old, real, wish=wish, params=params)["shares_age"]
    assert found.outcome == "passed" and "50..70" in found.sentence
    young = stating(BATCH, age=["49", "69.5", "70", "91"] * 10)
    assert judged(young, real, wish=wish, params=params)["shares_age"].outcome == "failed"


def test_what_is_not_stated_is_named_and_not_held_against_it():
    found = judged(stating(BATCH, sex=[None] * 40, site=["A", "B"] * 20))["shares_sex"]
    assert found.outcome == "not_provided" and "sex" in found.sentence
    assert not found.bad


def test_a_group_that_is_served_worse_is_named():
    sick = np.array([json.loads(text)["site"] == "B" for text in BATCH.attributes])
    worse = changed(BATCH, dice=np.where(sick[:, None], BATCH.dice - 0.4, BATCH.dice))
    found = judged(worse)
    assert found["dice_site_B"].outcome == "failed" and found["dice_site_A"].outcome == "passed"
    a, b = worse.rows(sick), REFERENCE.rows(groups("site", BATCH, REFERENCE)[1] == "B")
    expected = difference(a.by_group(0), b.by_group(0), 1 - 2 * 0.04 / 2)
    assert found["dice_site_B"].value == pytest.approx(expected.mean)


def test_small_groups_are_not_assessed():
    few = stating(BATCH, site=["A"] * 36 + ["B"] * 4, sex=["F", "M"] * 20)
    found = judged(few)["dice_site_B"]
    assert found.outcome == "not_applicable" and "not assessed" in found.sentence


def test_a_single_case_is_undefined_or_not_assessed():
    outcomes = {f.outcome for f in judged(BATCH.rows(np.arange(1))).values()}
    assert outcomes <= {"undefined", "not_applicable"}


def test_numbers_become_bands_of_the_patients():
    real = stating(REFERENCE, age=[str(20 + i) for i in range(60)])
    ours, theirs = groups("age", stating(BATCH, age=["20", "200", None, "x"] * 10), real)
    assert sorted(np.unique(theirs, return_counts=True)[1]) == [20, 20, 20]
    assert ours[0] == theirs[0] and ours[1] == theirs[-1] and ours[2] == ours[3] == UNKNOWN


def test_a_value_no_patient_has_is_another():
    assert groups("site", stating(BATCH, site=["Z"] * 40), REFERENCE)[0][0] == OTHER


def test_a_group_that_no_draw_holds_is_no_crash():
    # fewer cases are drawn than the batch has: the one that states no site is in none of some draws
    table = stating(BATCH, sex=["F", "M"] * 20, site=[None, *["A", "B"] * 19, "A"])
    for seed in range(5):
        found = {f.name: f for f in fairness.judge(trial(table, reference(seed)))}
        assert found["shares_site"].outcome == "passed"
