import numpy as np
import pytest
from tiny_measured import PARAMS, batch, changed, reference, trial

from synthgate.gate import fidelity, samples

REFERENCE = reference()
BATCH = batch()
SPACES = ("descriptors", "convolution")


def judged(table, real=REFERENCE, intent="realistic"):
    return {f.name: f for f in fidelity.judge(trial(table, real, intent))}


def shifted(space, by):
    return changed(BATCH, **{space: getattr(BATCH, space) + by})


def test_honest_batches_are_hardly_ever_refused():
    refused = []
    for n in range(60):
        found = judged(batch(20, 1000 + n), reference(2 * n))
        refused.append(any(found[f"energy_{space}"].bad for space in SPACES))
    assert np.mean(refused) <= 0.1


@pytest.mark.parametrize("space", SPACES)
def test_a_shift_is_caught_in_its_space(space):
    found = judged(shifted(space, 1.0))
    assert found[f"energy_{space}"].outcome == "failed"
    assert found[f"energy_{space}"].value > found[f"energy_{space}"].limit
    (other,) = set(SPACES) - {space}
    assert found[f"energy_{other}"].outcome == "passed"


def test_it_limits_what_claims_to_be_realistic_and_informs_on_the_rest():
    for intent, weight in (("realistic", "limits"), ("training-only", "informs")):
        assert judged(BATCH, intent=intent)["energy_convolution"].weight == weight
    assert judged(BATCH)["precision_convolution"].weight == "informs"


def test_the_mild_change_is_tolerated_but_not_where_it_is_undefined():
    table = shifted("convolution", 0.7)
    assert judged(table)["energy_convolution"].outcome == "failed"
    mild = changed(REFERENCE, mild_convolution=REFERENCE.convolution + 0.7)
    assert judged(table, mild)["energy_convolution"].outcome == "passed"
    mild.mild_convolution[:, 0] = np.nan
    far = changed(mild, convolution=mild.convolution + 50)  # as 0, the undefined would be far away: a wide tolerance
    moved = changed(BATCH, convolution=BATCH.convolution + 51.5)
    assert judged(moved, far)["energy_convolution"].outcome == "failed"


def test_the_frechet_ratio_of_honest_cases_is_about_one():
    assert 0.4 < judged(batch(40))["frechet_ratio_convolution"].value < 2.5
    assert judged(shifted("convolution", 2.0))["frechet_ratio_convolution"].value > 5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_space_without_a_number_is_undefined_and_does_not_pass(value):
    found = judged(changed(BATCH, convolution=np.full_like(BATCH.convolution, value)))
    assert found["measurable"].outcome == "undefined" and found["measurable"].bad
    assert len(found["measured_cases"].cases) == len(BATCH) and found["measured_cases"].weight == "thins"
    assert not any(name.startswith("energy") for name in found)


def test_identical_batches_and_cohorts_are_undefined():
    same = [changed(t, convolution=np.ones_like(t.convolution)) for t in (BATCH, REFERENCE)]
    assert judged(*same)["energy_convolution"].outcome == "undefined"


def test_a_single_case_and_no_unseen_patient_are_undefined():
    assert judged(BATCH.rows(np.arange(1)))["measurable"].outcome == "undefined"
    train = REFERENCE.rows(REFERENCE.split == "train")
    assert judged(BATCH, train)["frechet_ratio_convolution"].outcome == "undefined"


def test_what_informs_equals_the_closed_forms():
    found = judged(BATCH)
    space = samples.Space.of(
        np.concatenate([REFERENCE.convolution[:42], REFERENCE.convolution[42:], BATCH.convolution]), PARAMS.components
    )
    real, ours = space(REFERENCE.convolution[:42]), space(BATCH.convolution)

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    among = [(kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1)) for x in (real, ours)]
    assert found["kernel_distance_convolution"].value == pytest.approx(sum(among) - 2 * kernel(ours, real).mean())
    points, source = np.concatenate([ours, real]), np.repeat([0, 1], [len(ours), len(real)])
    groups = np.concatenate([BATCH.group, REFERENCE.group[:42]])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    apart[groups[:, None] == groups[None]] = np.inf
    hit = source[apart.argmin(axis=1)] == source
    expected = (hit[source == 0].mean() + hit[source == 1].mean()) / 2
    assert found["one_nn_accuracy_convolution"].value == pytest.approx(expected)
