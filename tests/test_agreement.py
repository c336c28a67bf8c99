import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score
from tiny_measured import batch, changed, pictures, reference, trial

from synthgate.gate import agreement

REFERENCE = reference()
BATCH = batch(20, images=True)


def judged(table, real=REFERENCE, intent="realistic"):
    return {f.name: f for f in agreement.judge(trial(table, real, intent))}


def pictured(seed, radii=(2, 6), table=BATCH):
    images, lesions, _ = pictures(len(table), np.random.default_rng(seed), radii)
    return changed(table, thumbnail=images, outline=lesions)


def shuffled(table, seed=0):
    """Every case with another case's label."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table))
    out = np.empty_like(table.outline)
    out[order] = table.outline[np.roll(order, 1)]
    return changed(table, outline=out)


def test_information_is_that_of_the_reference_library():
    thumbnail, lesion = BATCH.thumbnail[0], BATCH.outline[0].ravel() > 127
    head = thumbnail.reshape(2, -1).max(axis=0) > 0
    expected = 0.0
    for channel in thumbnail.reshape(2, -1)[:, head]:
        edges = np.quantile(channel, np.linspace(0, 1, agreement.BINS + 1)[1:-1])
        expected += mutual_info_score(np.searchsorted(edges, channel, side="right"), lesion[head])
    found = agreement.information(thumbnail, np.stack([lesion, np.zeros_like(lesion)]))
    assert found == pytest.approx([expected, 0], abs=1e-9)


def test_right_labels_pass_and_shuffled_ones_fail():
    right = judged(BATCH)["information"]
    assert (right.outcome, right.weight) == ("passed", "rejects") and right.value > 0.9
    wrong = judged(shuffled(BATCH))["information"]
    assert wrong.outcome == "failed"
    assert wrong.interval[0] < 0.5 and len(wrong.cases) > 3


def test_shuffled_labels_hardly_ever_pass():
    passed = [judged(shuffled(pictured(seed), seed))["information"].outcome == "passed" for seed in range(30)]
    assert np.mean(passed) <= 0.1


@pytest.mark.parametrize("radii", [(1.7, 2.2), (1.7, 9)], ids=["all tiny", "of very different size"])
def test_tiny_lesions_are_told_from_shuffled_ones(radii):
    table = pictured(3, radii)
    assert judged(table)["information"].outcome == "passed"
    assert judged(shuffled(table))["information"].outcome == "failed"


def test_a_few_large_lesions_do_not_speak_for_many_that_are_too_small():
    lesions = BATCH.outline.copy()
    lesions[5:] = 0
    lesions[5:, 16, 20, 10] = 255
    finding = judged(changed(BATCH, outline=lesions))["information"]
    assert finding.outcome == "undefined" and finding.bad and "5 of 20" in finding.sentence
    healthy = changed(BATCH, outline=lesions, inside=np.where(np.arange(20) < 5, 1, np.nan))
    assert judged(healthy)["information"].outcome == "passed", "who has no lesion needs no label"


def test_labels_of_nothing_constant_images_and_few_cases_never_pass():
    empty = changed(BATCH, outline=np.zeros_like(BATCH.outline), inside=np.full(20, np.nan))
    assert judged(empty)["information"].outcome == "undefined"
    assert judged(BATCH.rows(np.arange(2)))["information"].outcome == "undefined"
    flat = changed(BATCH, thumbnail=np.full_like(BATCH.thumbnail, 80))
    assert judged(flat)["information"].outcome == "failed"
    one = changed(BATCH, group=np.full(20, "a"))
    assert judged(one)["information"].outcome == "undefined"


def dice(values):
    return np.stack([values, values], axis=1)


def test_dice_is_compared_donor_by_donor_at_half_the_budget_shared_by_regions():
    rng = np.random.default_rng(0)
    values = rng.normal(0.8, 0.05, 20)
    table = changed(BATCH, dice=dice(values), group=np.repeat([f"d{n}" for n in range(10)], 2))
    finding = judged(table)["dice_WT"]
    ours, real = values.reshape(10, 2).mean(axis=1), REFERENCE.dice[:, 0]
    test = stats.ttest_ind(ours, real, equal_var=False).confidence_interval(1 - 2 * 0.04 / 2 / 2)
    assert finding.value == pytest.approx(ours.mean() - real.mean())
    assert finding.interval == pytest.approx((test.low, test.high))
    assert finding.limit == -0.1


def test_labels_that_do_not_fit_fail_what_claims_to_be_realistic():
    assert judged(BATCH)["dice_WT"].outcome == "passed"
    worse = changed(BATCH, dice=BATCH.dice - 0.3)
    assert judged(worse)["dice_TC"].outcome == "failed"
    assert judged(worse)["dice_TC"].weight == "rejects"
    assert judged(worse, intent="training-only")["dice_TC"].weight == "informs"


def test_a_difference_within_the_noise_does_not_refuse():
    noisy = changed(BATCH.rows(np.arange(3)), dice=dice(np.array([0.3, 0.8, 1.0])))
    finding = judged(noisy)["dice_WT"]
    assert finding.interval[0] < -0.1 < finding.interval[1] and finding.outcome == "passed"


def test_a_small_shown_difference_does_not_refuse():
    worse = judged(changed(BATCH, dice=BATCH.dice - 0.06))["dice_WT"]
    assert -0.1 < worse.value < 0 and worse.outcome == "passed"


def test_a_region_that_patients_have_and_the_batch_never_has_is_undefined():
    without = changed(BATCH, dice=np.full((20, 2), np.nan))
    assert judged(without)["dice_WT"].outcome == "undefined"
    single = changed(BATCH, dice=np.where(np.arange(20)[:, None] < 1, 0.9, np.nan) * np.ones(2))
    assert judged(single)["dice_WT"].outcome == "undefined"
    nobody = changed(REFERENCE, dice=np.full((60, 2), np.nan))
    assert judged(without, nobody)["dice_WT"].outcome == "not_applicable"
