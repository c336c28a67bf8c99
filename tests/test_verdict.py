import itertools
import json
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest

from synthgate.errors import ArtefactError
from synthgate.gate.verdict import UNTESTED, Finding, Verdict, decide, schema

SIZES = {"cases": 20, "donors": 12, "reference_patients": 60}
USE = Finding("utility", "probe_WT", "passed", "limits", "It does no harm.", 0.0, (-0.01, 0.01))


def finding(outcome, weight, sentence="why"):
    return Finding("drift", "sharpness", outcome, weight, sentence)


def made(*findings, intent="realistic"):
    return decide("brain", "batch", intent, findings, SIZES)


@pytest.mark.parametrize(("outcome", "weight", "used"), itertools.product(
    ("passed", "failed", "undefined", "not_applicable", "not_provided"), ("rejects", "limits", "informs"), (False, True)
))  # fmt: skip
def test_the_policy(outcome, weight, used):
    verdict = made(finding(outcome, weight), *[USE] * used)
    bad = outcome in ("failed", "undefined")
    if bad and weight == "rejects":
        expected = ("rejected", 0.0)
    elif used and not (bad and weight == "limits"):
        expected = ("approved", 1.0)
    else:
        expected = ("limited", UNTESTED)
    assert (verdict.verdict, verdict.proportion) == expected
    assert ("why" in verdict.reasons) == (bad and weight != "informs")
    assert any("not been tested" in reason for reason in verdict.reasons) == (not used and expected[0] != "rejected")
    assert verdict.reasons or expected[0] == "approved"


@pytest.mark.parametrize(("cases", "thinned", "verdict"), [(20, 1, "limited"), (20, 2, "rejected"), (60, 3, "limited"),
                                                           (60, 4, "rejected"), (3, 1, "limited")])  # fmt: skip
def test_a_few_bad_cases_are_left_out_and_an_excess_refuses(cases, thinned, verdict):
    names = tuple(f"c{i}" for i in range(thinned))
    bad = [Finding("privacy", "copies", "failed", "thins", f"{name} is a copy.", cases=(name,)) for name in names]
    found = decide("brain", "batch", "realistic", bad, SIZES | {"cases": cases})
    assert found.verdict == verdict
    assert found.thinned == (names if verdict == "limited" else ())


def test_what_should_have_been_measured_case_by_case_and_was_not_rejects():
    assert made(Finding("privacy", "copies", "undefined", "thins", "Too few.")).verdict == "rejected"


def test_the_schema_in_the_docs_is_the_verdicts():
    stored = json.loads((Path(__file__).parent.parent / "docs/verdict.schema.json").read_text())
    assert stored == schema()
    verdict = made(Finding("privacy", "copies", "failed", "thins", "a copy", 1.5, (0.5, 2.0), 1.0, "tail", ("c1",)))
    jsonschema.validate(json.loads(json.dumps(asdict(verdict))), stored)


def test_a_rejection_gives_its_own_reasons_only():
    verdict = made(finding("failed", "limits", "ugly"), finding("failed", "rejects", "a copy"))
    assert verdict.reasons == ("a copy",)


def test_a_verdict_survives_the_disk(tmp_path):
    found = Finding("privacy", "copies", "failed", "rejects", "a copy", 1.5, (0.5, 2.0), 1.0, "tail", ("c1", "c2"))
    verdict = made(found, finding("undefined", "informs"))
    verdict.write(tmp_path / "verdict.json")
    assert Verdict.read(tmp_path / "verdict.json") == verdict
    assert json.loads((tmp_path / "verdict.json").read_text())["proportion"] == 0


@pytest.mark.parametrize("version", [0, 1, None])
def test_a_verdict_of_another_gate_is_expired(tmp_path, version):
    made().write(path := tmp_path / "verdict.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(ArtefactError, match=r"verdict\.json is expired.*dvc repro"):
        Verdict.read(path)


@pytest.mark.parametrize("spoil", [lambda v: v.pop("reasons"), lambda v: v.update(more=1), lambda v: v.pop("sizes"),
                                   lambda v: v["findings"].append({"axis": "drift"})])  # fmt: skip
def test_a_broken_verdict_is_refused(tmp_path, spoil):
    made().write(path := tmp_path / "verdict.json")
    spoil(value := json.loads(path.read_text()))
    path.write_text(json.dumps(value))
    with pytest.raises(ArtefactError, match="not a verdict"):
        Verdict.read(path)


def test_a_missing_verdict_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"verdict\.json"):
        Verdict.read(tmp_path / "verdict.json")
