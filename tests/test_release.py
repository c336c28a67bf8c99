import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from synthgate import params
from synthgate.learning.scoring import Overlap
from synthgate.params import Arm
from synthgate.registry import release

ROW = params.load(Path(__file__).resolve().parent.parent / "params.yaml").studies["brain"]
GAIN, NO_HARM, HARM, OPEN = "gain", "no harm", "harm", "inconclusive"


def row(*candidates):
    arms = dict(ROW.study.arms) | {"more": Arm("all", {"randomised": 0.5}, "donor", "real")}
    return dataclasses.replace(
        ROW, study=dataclasses.replace(ROW.study, arms=arms),
        release=dataclasses.replace(ROW.release, candidates=candidates),
    )  # fmt: skip


def arm(wt, tc=OPEN, et=OPEN, gain=0.05):
    """An arm's metrics: its outcome per region."""
    difference = {"dice": gain, "low": gain - 0.01, "high": gain + 0.01}
    return {r: {"outcome": o, "difference": difference} for r, o in zip(("WT", "TC", "ET"), (wt, tc, et), strict=True)}


REAL = {region: {"dice": 0.8} for region in ("WT", "TC", "ET")}
ALLOWED = {"real": True, "mixed": True, "more": True}


def choose(candidates, metrics, **allowed):
    return release.choose(row(*candidates), {"real": REAL} | metrics, ALLOWED | allowed)


def test_a_shown_gain_without_harm_is_released():
    choice = choose(("real", "mixed"), {"mixed": arm(GAIN)})
    assert choice.arm == "mixed"
    assert choice.decision.startswith("Released is mixed: the largest shown gain")


@pytest.mark.parametrize("outcome", [NO_HARM, OPEN, HARM])
def test_what_is_not_shown_to_be_better_is_not_released(outcome):
    choice = choose(("real", "mixed"), {"mixed": arm(outcome, GAIN, GAIN)})
    assert choice.arm == "real"
    assert outcome in choice.decision


def test_a_rejected_batch_is_not_released_however_much_it_gains():
    choice = choose(("real", "mixed"), {"mixed": arm(GAIN, GAIN, GAIN)}, mixed=False)
    assert choice.arm == "real"
    assert "the gate does not allow its batches in that share" in choice.decision


@pytest.mark.parametrize("region", ["TC", "ET"])
def test_harm_in_a_region_bars_the_release(region):
    metrics = arm(GAIN) | {region: {"outcome": HARM, "difference": {"dice": -0.1}}}
    choice = choose(("real", "mixed"), {"mixed": metrics})
    assert choice.arm == "real" and f"harm in {region}" in choice.decision


def test_of_several_the_largest_gain_is_released_and_all_are_told():
    metrics = {"mixed": arm(GAIN, gain=0.02), "more": arm(GAIN, gain=0.06)}
    for order in (("real", "mixed", "more"), ("real", "more", "mixed")):
        choice = choose(order, metrics)
        assert choice.arm == "more" and "mixed: gain" in choice.decision
    assert choose(("real", "mixed", "more"), metrics, more=False).arm == "mixed"


def test_real_only_alone_is_released():
    choice = choose(("real",), {})
    assert choice.arm == "real" and choice.decision.endswith(".")


def case(patient):
    return SimpleNamespace(patient=patient)


def held_out(values, region="WT", k=1):
    """Measure patients' Dice, in this order; a whole number is what is falsely found without the region."""
    found = iter(Overlap(v, None) if isinstance(v, float) else Overlap(None, v) for _, v in values)
    return release.measure([case(p) for p, _ in values], lambda c: {region: next(found)}, [region], 0.95, k)[region]


@pytest.mark.parametrize(("k", "confidence"), [(1, 0.95), (2, 0.975), (3, 1 - 0.05 / 3)])
def test_the_hold_out_is_measured_over_patients_at_the_error_of_the_opening(k, confidence):
    low, high = stats.t.interval(confidence, 2, 0.7, stats.sem([0.5, 0.7, 0.9]))
    assert held_out([("a", 0.5), ("b", 0.7), ("c", 0.9), ("d", 0)], k=k) == {
        "dice": 0.7, "low": pytest.approx(low, abs=1e-4), "high": pytest.approx(high, abs=1e-4),
        "patients": 3, "without": 1, "found_falsely": 0,
    }  # fmt: skip


def test_a_patient_with_two_studies_counts_once():
    found = held_out([("a", 0.2), ("a", 0.4), ("b", 0.9)])
    assert found["dice"] == pytest.approx(np.mean([0.3, 0.9])) and found["patients"] == 2


def test_a_region_nobody_has_is_undefined_and_what_is_found_of_it_counted():
    found = held_out([("a", 0), ("b", 7)], "ET")
    assert found == {"dice": "undefined", "patients": 0, "without": 2, "found_falsely": 1}
