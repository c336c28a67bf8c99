from pathlib import Path

import pytest

from synthgate import params, places
from synthgate.errors import ArtefactError
from synthgate.files import read_json, write_json
from synthgate.gate.verdict import Finding, decide
from synthgate.report import summary

PARAMS = params.load(Path(__file__).resolve().parent.parent / "params.yaml")
COPY = Finding("privacy", "image_copies", "failed", "rejects", "1 of 48 images is a copy.")
FINE = Finding("privacy", "image_copies", "passed", "rejects", "No copy.")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty working tree."""
    monkeypatch.chdir(tmp_path)


def judge(finding):
    for name, batch in PARAMS.batches.items():
        folder = places.gate(batch.study, name)
        folder.mkdir(parents=True)
        decide(batch.study, name, batch.intent, [finding], {"cases": 48}).write(folder / "verdict.json")


def test_what_has_not_run_is_named():
    told = summary.summary(PARAMS)
    for part in ("batch randomised: not judged yet", "study: not run yet", "release: none yet", "Research use only."):
        assert part in told
    with pytest.raises(ArtefactError, match=r"verdict\.json"):
        summary.verdicts(PARAMS)


def test_a_limited_batch_is_told_with_its_share_and_where_to_look():
    judge(FINE)
    told = summary.summary(PARAMS)
    assert "batch randomised: limited to 0.25 of a training" in told
    assert "Its use has not been tested on real patients" in told
    assert "see reports/gate/brain/randomised/verdict.json" in told
    assert "simulated patients" in told
    assert summary.refused(PARAMS) == []


def test_a_rejected_batch_refuses_every_candidate_that_uses_it():
    judge(COPY)
    for told in (summary.summary(PARAMS), summary.batches(PARAMS)):
        assert "batch randomised: rejected" in told and "- 1 of 48 images is a copy." in told
    assert "release" in summary.summary(PARAMS) and "release" not in summary.batches(PARAMS)
    row = PARAMS.studies["brain"]
    using = [arm for arm in row.release.candidates if "randomised" in row.study.arms[arm].batches]
    refused = summary.refused(PARAMS)
    assert using and len(refused) == len(using)
    for arm, (verdict, sentence) in zip(using, refused, strict=True):
        assert verdict == "rejected"
        assert f"candidate {arm} takes 0.25" in sentence and "rejected" in sentence and "is a copy" in sentence


def test_arms_and_release_are_told_with_intervals_and_undefined_as_such():
    judge(FINE)
    row = PARAMS.studies["brain"]
    known, unknown = {"dice": 0.8123, "low": 0.75, "high": 0.87}, {"dice": "undefined"}
    arm = {region: known for region in row.cohort.regions} | {list(row.cohort.regions)[-1]: unknown}
    against = known | {"outcome": "inconclusive", "against": "real"}
    write_json(places.reports("study", "brain") / "metrics.json", {"real": arm, "mixed": arm | {"WT": against}})
    release = {"decision": "Released: real.", "hold_out": arm, "manifest": "abc123"}
    write_json(places.reports("release", "brain") / "metrics.json", release)
    told = summary.summary(PARAMS)
    assert "WT 0.812 [0.750, 0.870]" in told and "undefined" in told
    assert "inconclusive against real" in told
    assert "Released: real." in told and "Manifest abc123" in told
    text = summary.markdown(PARAMS)
    assert "| randomised | **limited to 0.25 of a training** | Its use has not been tested" in text
    assert "Released: real." in text and "_Research use only._" in text


def test_a_verdict_of_another_gate_is_shown_as_expired_and_allows_nothing():
    judge(FINE)
    path = places.gate("brain", "randomised") / "verdict.json"
    write_json(path, read_json(path) | {"version": 1})
    assert "batch randomised: expired (judged by version 1 of the gate" in summary.summary(PARAMS)
    assert "**expired" in summary.markdown(PARAMS)
    assert any("which is expired" in sentence for _, sentence in summary.refused(PARAMS))
