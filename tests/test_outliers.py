"""Single bad cases: they are named and left out, and neither crash the gate nor hide among the others."""

import numpy as np
import pytest
from tiny_measured import batch, changed, numbers, reference, trial

from synthgate.gate import diversity, fidelity
from synthgate.gate.verdict import decide

REFERENCE = reference()
BATCH = batch(24)


def judged(table, real=REFERENCE, intent="realistic"):
    return {f.name: f for f in fidelity.judge(trial(table, real, intent))}


def spoiled(rows, space="radiomics", value=np.nan, columns=8):
    """The batch with most of a space's columns set in some rows; the patients have them all."""
    values = getattr(BATCH, space).copy()
    values[rows, :columns] = value
    return changed(BATCH, **{space: values})


def test_a_case_that_lacks_most_numbers_is_named_and_the_rest_is_judged():
    found = judged(spoiled([3]))
    assert (found["measured_cases"].outcome, found["measured_cases"].weight) == ("undefined", "thins")
    assert found["measured_cases"].cases == (str(BATCH.case[3]),)
    assert {found[f"energy_{space}"].outcome for space in ("descriptors", "radiomics", "convolution")} == {"passed"}
    assert not any(f.bad and f.name == "measurable" for f in diversity.judge(trial(spoiled([3]), REFERENCE)))


def test_one_such_case_is_thinned_and_many_reject():
    few, many = (
        decide("brain", "b", "realistic", fidelity.judge(trial(spoiled(rows), REFERENCE)), {"cases": len(BATCH)})
        for rows in ([3], [3, 7, 9, 11])
    )
    assert few.thinned == (str(BATCH.case[3]),) and few.verdict == "limited"
    assert many.verdict == "rejected" and any("lack most of what is measured" in reason for reason in many.reasons)


def test_a_batch_of_nothing_else_is_undefined_and_no_crash():
    table = spoiled(range(24))
    found = judged(table)
    assert found["measured_cases"].cases == tuple(sorted(BATCH.case)) and found["measurable"].outcome == "undefined"
    assert decide("brain", "b", "realistic", list(found.values()), {"cases": len(BATCH)}).verdict == "rejected"
    assert any(f.outcome == "undefined" for f in diversity.judge(trial(table, REFERENCE)))


@pytest.mark.parametrize("space", ["descriptors", "radiomics", "convolution"])
def test_a_case_like_no_patient_is_found_in_each_space(space):
    table = spoiled([5], space, 40.0, 3)
    found = judged(table)["outlying_cases"]
    assert (found.outcome, found.weight, found.cases) == ("failed", "thins", (str(BATCH.case[5]),))
    assert judged(table, intent="training-only")["outlying_cases"].weight == "informs"


def test_honest_cases_are_hardly_ever_outliers():
    hits = [judged(batch(20, 2000 + n), reference(2 * n))["outlying_cases"].bad for n in range(60)]
    assert np.mean(hits) <= 0.05


def test_too_few_patients_tell_no_outlier_from_a_case():
    assert judged(BATCH, numbers(5, 3))["outlying_cases"].outcome == "undefined"
