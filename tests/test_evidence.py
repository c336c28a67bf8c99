import itertools

import numpy as np
import pytest
from scipy import stats
from tiny_store import segmenter

from synthgate.params import Arm, Study
from synthgate.stats.intervals import Interval
from synthgate.stats.outcomes import outcome_of
from synthgate.study import evidence
from synthgate.study.evidence import Score

ARMS = {"real": Arm("all", {}, "donor"), "mixed": Arm("all", {"b": 0.25}, "donor", "real")}


def study(draws=1):
    return Study(ARMS, draws, segmenter(), 0.03, 0.95, 0, 0)


def scores(arm, table, region="WT"):
    """Scores from a table [patient][draw]; None is undefined."""
    return [Score(arm, d, f"p{p}", region, value) for p, row in enumerate(table) for d, value in enumerate(row)]


def test_the_difference_is_paired_by_patient():
    rng = np.random.default_rng(0)
    real, mixed = rng.uniform(0.2, 0.9, (2, 8, 1))
    (found,) = evidence.compare(scores("real", real) + scores("mixed", mixed)[::-1], study(), ["WT"])
    expected = stats.ttest_rel(mixed[:, 0], real[:, 0])
    low, high = expected.confidence_interval(0.95)
    assert (found.arm, found.baseline, found.region, found.patients) == ("mixed", "real", "WT", 8)
    assert found.difference.mean == pytest.approx(float(np.mean([m - r for m, r in zip(mixed, real, strict=True)])))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))


def test_several_draws_are_paired_draw_by_draw():
    rng = np.random.default_rng(1)
    real = rng.uniform(0.4, 0.9, (6, 3))
    mixed = real + rng.normal(0.02, 0.05, (6, 3))
    (found,) = evidence.compare(scores("real", real) + scores("mixed", mixed), study(3), ["WT"])
    alone = stats.ttest_1samp((mixed - real).mean(1), 0).confidence_interval(0.95)
    assert found.difference.mean == pytest.approx((mixed - real).mean())
    assert found.difference.high - found.difference.low >= (alone.high - alone.low) * 0.99
    assert found.patients == 6


def test_a_patients_several_cases_count_once():
    listed = [Score("real", 0, "p0", "WT", 0.2), Score("real", 0, "p0", "WT", 0.4), Score("real", 0, "p1", "WT", 0.9)]
    interval, patients = evidence.mean(listed, "real", "WT", 0.95)
    assert patients == 2 and interval.mean == pytest.approx((0.3 + 0.9) / 2)


def test_undefined_patients_are_left_out_and_counted():
    real = [[0.5], [None], [0.7], [0.6]]
    mixed = [[0.6], [0.9], [None], [0.5]]
    (found,) = evidence.compare(scores("real", real) + scores("mixed", mixed), study(), ["WT"])
    assert found.patients == 2
    assert found.difference.mean == pytest.approx((0.1 - 0.1) / 2)
    interval, patients = evidence.mean(scores("real", real), "real", "WT", 0.95)
    assert patients == 3 and interval.mean == pytest.approx(0.6)


@pytest.mark.parametrize("table", [[[None], [None], [None]], [[0.5], [None], [None]]])
def test_what_cannot_be_compared_is_undefined_and_inconclusive(table):
    listed = scores("real", table) + scores("mixed", table)
    (found,) = evidence.compare(listed, study(), ["WT"])
    assert found.difference is None and found.outcome == "inconclusive"
    metrics = evidence.as_metrics(listed, study(), ["WT"], ["real", "mixed"])
    assert metrics["mixed"]["WT"]["dice"] == "undefined"
    assert metrics["mixed"]["WT"]["difference"] == {"dice": "undefined"}


def test_the_four_outcomes_over_all_intervals():
    ends = np.round(np.linspace(-0.1, 0.1, 21), 2)
    for low, high in itertools.combinations(ends, 2):
        outcome = outcome_of(Interval((low + high) / 2, low, high, 5), 0.03)
        if low > 0:
            assert outcome == "gain"
        elif low > -0.03:
            assert outcome == "no harm"
        elif high < 0:
            assert outcome == "harm"
        else:
            assert outcome == "inconclusive"
    assert outcome_of(None, 0.03) == "inconclusive"


def test_metrics_say_the_mean_and_the_outcome_per_region():
    rng = np.random.default_rng(2)
    real = rng.uniform(0.4, 0.6, (9, 1))
    listed = [*scores("real", real), *scores("mixed", real + 0.1 + rng.normal(0, 0.01, (9, 1)))]
    listed += [*scores("real", real, "TC"), *scores("mixed", real - 0.1, "TC")]
    listed += [*scores("cross_validation", real), *scores("cross_validation", real, "TC")]
    metrics = evidence.as_metrics(listed, study(), ["WT", "TC"], ["real", "mixed", "cross_validation"])
    assert metrics["mixed"]["WT"]["outcome"] == "gain" and metrics["mixed"]["TC"]["outcome"] == "harm"
    assert metrics["mixed"]["TC"]["difference"]["dice"] == pytest.approx(-0.1)
    assert metrics["real"]["WT"]["dice"] == pytest.approx(real.mean(), abs=1e-4)
    assert "outcome" not in metrics["real"]["WT"] and metrics["cross_validation"]["WT"]["patients"] == 9
