import json

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from tiny_measured import LESION, NAMES, batch, changed, reference, trial

from synthgate.gate import drift
from synthgate.stats.distances import quantile_distances_under, spreads

REFERENCE = reference()
BATCH = batch()


def shifted(by, column=5, table=BATCH):
    values = table.descriptors.copy()
    values[:, column] += by
    return changed(table, descriptors=values)


def without_lesion(table, rows):
    """The same cases, some of them without a lesion."""
    values, mild = table.descriptors.copy(), table.mild_descriptors.copy()
    values[rows, LESION] = mild[rows, LESION] = np.nan
    return changed(table, descriptors=values, mild_descriptors=mild)


def outcomes(table, real=REFERENCE, intent="realistic"):
    return {f.name: f.outcome for f in drift.judge(trial(table, real, intent))}


def test_honest_batches_are_hardly_ever_refused():
    refused = [any(f.bad for f in drift.judge(trial(batch(20, 1000 + n), reference(2 * n))))
               for n in range(60)]  # fmt: skip
    assert np.mean(refused) <= 0.1


@pytest.mark.parametrize("column", range(len(NAMES)))
def test_a_shift_is_caught_and_named(column):
    found = outcomes(shifted(2.0, column))
    assert [name for name, outcome in found.items() if outcome != "passed"] == [NAMES[column]]


def test_the_value_is_the_wasserstein_distance_in_pooled_standard_deviations():
    values = np.concatenate([BATCH.descriptors, REFERENCE.descriptors])
    values[2, 1] = np.nan
    mask = np.arange(len(values)) < len(BATCH)
    unit = spreads(values)
    for column, found in enumerate(quantile_distances_under(values, mask[None])[0]):
        a, b = (part[~np.isnan(part)] for part in (values[mask, column], values[~mask, column]))
        assert unit[column] == pytest.approx(np.concatenate([a, b]).std())
        assert found == pytest.approx(wasserstein_distance(a, b) / unit[column])
    halved = quantile_distances_under(values, mask[None], unit * 2)
    assert np.allclose(halved * 2, quantile_distances_under(values, mask[None]))


def test_it_rejects_only_what_claims_to_be_realistic():
    for intent, weight in (("realistic", "rejects"), ("training-only", "informs")):
        assert {f.weight for f in drift.judge(trial(shifted(3.0), REFERENCE, intent))} == {weight}


def test_a_batch_without_lesions_does_not_follow_patients_with_lesions():
    real = without_lesion(REFERENCE, slice(0, 3))
    found = outcomes(without_lesion(BATCH, slice(None)), real)
    assert found["lesion_x_known"] == "failed"
    assert {found[name] for name in NAMES[LESION]} == {"undefined"}
    assert found["head_volume"] == "passed"
    assert outcomes(without_lesion(BATCH, slice(1, None)), real)["lesion_x_known"] == "failed"
    assert set(outcomes(without_lesion(BATCH, slice(0, 1)), real).values()) == {"passed"}


def test_what_patients_do_not_have_a_batch_should_not_have_either():
    found = outcomes(BATCH, without_lesion(REFERENCE, slice(None)))
    assert found["lesion_x_known"] == "failed" and found["lesion_x"] == "undefined"


def test_what_nobody_has_or_nobody_varies_does_not_apply():
    bare = [without_lesion(table, slice(None)) for table in (BATCH, REFERENCE)]
    for table in bare:
        table.descriptors[:, 0] = table.mild_descriptors[:, 0] = 3.0
    found = outcomes(*bare)
    assert {found[name] for name in (*NAMES[LESION], "head_volume")} == {"not_applicable"}
    bare[0].descriptors[:, 0] = 4.0
    assert outcomes(*bare)["head_volume"] == "failed"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_never_passes(value):
    values = BATCH.descriptors.copy()
    values[:, 5] = value
    found = outcomes(changed(BATCH, descriptors=values))
    assert found["sharpness"] == "undefined" and found["sharpness_known"] == "failed"


def test_a_single_case_and_a_single_patient_are_undefined():
    for table, real in ((BATCH.rows(np.arange(1)), REFERENCE), (BATCH, REFERENCE.rows(np.arange(1)))):
        assert outcomes(table, real) == {"measurable": "undefined"}


def test_identical_cases_are_caught():
    assert outcomes(BATCH.rows(np.zeros(20, int))) == {"measurable": "undefined"}, "one donor"
    same = changed(BATCH, descriptors=np.repeat(REFERENCE.descriptors[:1], 20, axis=0))
    assert "failed" in outcomes(same).values()


def test_the_mild_change_is_tolerated_and_a_great_one_is_not():
    mild = changed(REFERENCE, mild_descriptors=REFERENCE.descriptors + 1.5 * (np.arange(6) == 5))
    assert outcomes(shifted(1.5))["sharpness"] == "failed"
    assert outcomes(shifted(1.5), mild)["sharpness"] == "passed"
    # the batch itself widens the pooled spread, in which the tolerance is counted too
    assert outcomes(shifted(30.0), mild)["sharpness"] == "failed"


def test_evidently_reports_by_the_named_method_what_can_be_compared(tmp_path):
    drift.report(without_lesion(BATCH, slice(None)), REFERENCE, tmp_path)
    assert (tmp_path / "evidently.html").stat().st_size > 1000
    written = (tmp_path / "evidently.json").read_text()
    assert json.loads(written)
    assert "sharpness" in written and "Wasserstein" in written and "lesion_x" not in written


def test_evidently_is_not_asked_about_a_single_case(tmp_path):
    drift.report(BATCH.rows(np.arange(1)), REFERENCE, tmp_path / "report")
    assert not list((tmp_path / "report").iterdir())
