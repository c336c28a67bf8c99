import numpy as np
import pytest
from tiny_measured import batch, changed, reference, trial

from synthgate.gate import diversity, samples

REFERENCE = reference()
BATCH = batch()
VARIETY = [f"{m}_{space}" for space in samples.spaces(BATCH) for m in ("vendi", "mean_distance")]


def judged(table, real=REFERENCE):
    return {f.name: f for f in diversity.judge(trial(table, real))}


def collapsed(modes, jitter, table=BATCH):
    """The batch's cases around the first few of them."""
    rng = np.random.default_rng(0)
    rows = np.arange(len(table)) % modes
    parts = {name: getattr(table, name) for name in samples.spaces(table)}
    return changed(table, **{name: part[rows] + rng.normal(0, jitter, part.shape) for name, part in parts.items()})


def test_honest_batches_are_hardly_ever_refused():
    refused = [any(f.bad and f.weight != "informs" for f in judged(batch(20, 1000 + n), reference(2 * n)).values())
               for n in range(60)]  # fmt: skip
    assert np.mean(refused) <= 0.1


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("jitter", [0.0, 0.03])
def test_a_collapse_is_caught_and_counted(modes, jitter):
    found = judged(collapsed(modes, jitter))
    effective = found["effective_cases"]
    assert (effective.outcome, effective.weight) == ("failed", "rejects")
    assert effective.value == pytest.approx(modes, abs=0.6)
    assert {found[name].outcome for name in VARIETY if name.startswith("vendi")} == {"failed"}


def test_real_patients_in_another_place_count_as_distinct():
    assert judged(BATCH)["effective_cases"].value > 18
    far = changed(BATCH, convolution=BATCH.convolution * 5 + 100)
    assert judged(far)["effective_cases"].outcome == "passed"


def test_many_cases_of_few_donors_are_few():
    found = judged(batch(40, donors=4))["effective_cases"]
    assert found.outcome == "failed" and "4 distinct donors" in found.sentence
    assert judged(batch(40, donors=5))["effective_cases"].outcome == "passed"


def test_a_narrow_batch_is_limited_by_what_is_narrow():
    table = changed(BATCH, convolution=BATCH.convolution * 0.3)
    found = judged(table)
    assert found["mean_distance_convolution"].outcome == found["vendi_convolution"].outcome == "failed"
    assert found["mean_distance_convolution"].value < found["mean_distance_convolution"].limit
    assert found["mean_distance_descriptors"].outcome == "passed"
    assert found["vendi_convolution"].weight == "limits"


def test_single_and_undefined_cases_and_identical_patients_do_not_pass():
    alone = judged(BATCH.rows(np.arange(1)))
    assert alone["measurable"].outcome == "undefined" and alone["effective_cases"].outcome == "failed"
    unknown = judged(changed(BATCH, convolution=np.full_like(BATCH.convolution, np.nan)))
    assert unknown["effective_cases"].outcome == "undefined"
    assert unknown["measurable"].outcome == "undefined"
    same = [changed(t, convolution=np.ones_like(t.convolution)) for t in (BATCH, REFERENCE)]
    assert judged(*same)["effective_cases"].outcome == judged(*same)["vendi_convolution"].outcome == "undefined"


def test_recall_and_coverage_inform():
    found = judged(BATCH)
    assert found["recall_convolution"].weight == found["coverage_descriptors"].weight == "informs"
    assert judged(collapsed(1, 0.01))["recall_convolution"].value < found["recall_convolution"].value
    assert judged(BATCH.rows(np.arange(3)))["recall_convolution"].outcome == "undefined"
