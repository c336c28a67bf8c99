import dataclasses

import numpy as np
import pytest
import tiny_store
from tiny_store import REGIONS

from synthgate.gate import utility
from synthgate.gate.verdict import UNTESTED, Finding, decide
from synthgate.params import Probe
from synthgate.scratch import Scratch
from synthgate.stats.intervals import two_way

PROBE = Probe(steps=3, draws=2, share=0.5, margin=0.05, confidence=0.9)


def found(*apart, first=True, draws=2):
    """The finding on differences of these patients, alike in all draws."""
    rng = np.random.default_rng(0)
    values = np.array(apart)[:, None] + rng.normal(0, 0.001, (len(apart), draws))
    return utility._finding("WT", values, PROBE, first)


@pytest.mark.parametrize(("values", "word", "weight", "bad"), [
    ((0.1, 0.12, 0.09, 0.11), "helps", "limits", False),
    ((0.0, 0.01, -0.01, 0.0), "does no harm", "limits", False),
    ((-0.1, -0.12, -0.09, -0.11), "does harm", "rejects", True),
    ((-0.4, 0.4, -0.3, 0.3), "cannot be told", "limits", True),
])  # fmt: skip
def test_the_four_outcomes(values, word, weight, bad):
    one = found(*values)
    assert word in one.sentence and (one.weight, one.bad) == (weight, bad)
    assert one.interval[0] <= one.value <= one.interval[1]


def test_the_interval_is_over_patients_and_draws_of_those_who_have_the_region():
    apart = np.array([[0.1, 0.2], [0.0, 0.3], [np.nan, np.nan], [0.2, 0.1]])
    expected = two_way(apart[[0, 1, 3]], PROBE.confidence)
    one = utility._finding("WT", apart, PROBE, True)
    assert one.value == pytest.approx(expected.mean) and one.interval == pytest.approx((expected.low, expected.high))
    assert "3 patients" in one.sentence


def test_too_few_patients_are_undefined():
    assert utility._finding("WT", np.array([[0.1, 0.2]]), PROBE, True).outcome == "undefined"


def test_harm_in_another_region_rejects_and_doubt_there_informs():
    assert found(-0.1, -0.12, -0.09, -0.11, first=False).weight == "rejects"
    assert found(-0.4, 0.4, -0.3, 0.3, first=False).weight == "informs"


SIZES = {"cases": 20}
UGLY = Finding("fidelity", "energy", "failed", "limits", "It looks unreal.")


@pytest.mark.parametrize(("probe", "more", "verdict", "proportion"), [
    (found(0.1, 0.12, 0.09, 0.11), [UGLY], "approved", 1.0),
    (found(0.0, 0.01, -0.01, 0.0), [], "approved", 1.0),
    (found(0.0, 0.01, -0.01, 0.0), [UGLY], "limited", 0.5),
    (found(-0.4, 0.4, -0.3, 0.3), [], "limited", UNTESTED),
    (found(-0.1, -0.12, -0.09, -0.11), [], "rejected", 0.0),
])  # fmt: skip
def test_what_use_means_for_the_verdict(probe, more, verdict, proportion):
    made = decide("brain", "batch", "realistic", [probe, *more], SIZES, share=PROBE.share)
    assert (made.verdict, made.proportion) == (verdict, proportion), made.reasons


def test_a_probe_trains_and_repeats_itself(tiny, tmp_path):
    people = {"ann": "synthetic", "bob": "synthetic"}
    batch = tiny_store.make(tmp_path / "batch", tiny_store.entries(people, donors=("ann",)))
    segmenter = tiny_store.segmenter(steps=3)
    once = []
    for name in ("a", "b"):
        with Scratch.opened("utility", {}, root=tmp_path / name) as scratch:
            once.append(utility.probe(tiny, batch, ["case-bob"], REGIONS, PROBE, segmenter, scratch))
            assert {piece.name for piece in scratch.path.glob("*.json")} == {
                f"{arm}-{draw}.json" for arm in ("real", "mixed") for draw in range(2)
            }
    assert once[0] == once[1] and [f.name for f in once[0]] == [f"probe_{name}" for name in REGIONS]
    assert dataclasses.asdict(once[0][0])["axis"] == "utility"
