"""The whole road by `dvc repro`, at test size: it ends with a release, runs what changed, and gives the same twice."""

import csv
import json
import time

import pytest
import yaml
from road import STAGES, change, copy, digests, dvc, half_made, stages_run, synthgate

from synthgate import params
from synthgate.files import read_json
from synthgate.registry import bundle

pytestmark = pytest.mark.road
ROW = {"study": "brain", "kind": "randomised", "patients": {"size": 6, "draw": 0}, "clusters": 3, "smoothing": 1.0,
       "recombine": True, "seed": 0}  # fmt: skip
BATCH = {"study": "brain", "generator": "second", "cases": 5, "seed": 0, "intent": "training-only"}


def test_it_ends_with_a_release(road):
    settings, manifest = bundle.verify(road / "releases/brain")
    told = read_json(road / "reports/release/brain/metrics.json")
    assert settings.channels == ("t1", "t1ce", "t2", "flair") and told["arm"] in ("real", "mixed")
    assert told["manifest"] == bundle.manifest_id(manifest)
    assert set(told["hold_out"]) == {"WT", "TC", "ET"}
    assert not half_made(road)


def test_the_summary_says_what_was_decided(road):
    verdict = read_json(road / "reports/gate/brain/randomised/verdict.json")
    said = synthgate(road, "summary")
    assert f"batch randomised: {verdict['verdict']}" in said and "Released is " in said
    assert all(reason in said for reason in verdict["reasons"]) and "Research use only" in said


def test_only_an_allowed_share_is_eligible(road):
    verdict = read_json(road / "reports/gate/brain/randomised/verdict.json")
    metrics = read_json(road / "reports/study/brain/metrics.json")
    share = params.load(road / "params.yaml").studies["brain"].study.arms["mixed"].batches["randomised"]
    assert metrics["mixed"]["eligible"] == (share <= verdict["proportion"]) and metrics["real"]["eligible"]


def test_again_runs_nothing_within_ten_seconds(road):
    began = time.monotonic()
    said = dvc(road, "repro")
    assert time.monotonic() - began < 10
    assert stages_run(said) == [] and "up to date" in said


def test_the_graph_and_the_metrics_name_everything(road):
    graph = dvc(road, "dag")
    assert all(stage in graph for stage in ["data.dvc", *STAGES])
    shown = json.loads(dvc(road, "metrics", "show", "--json"))[""]["data"]
    verdict = "reports/gate/brain/randomised/verdict.json"
    stages = ("prepare", "calibrate", "study", "release")
    assert set(shown) == {f"reports/{stage}/brain/metrics.json" for stage in stages} | {verdict}
    assert shown[verdict]["data"]["verdict"] in ("approved", "limited", "rejected", "undecided")
    assert "reports/release/brain/metrics.json" in dvc(road, "metrics", "show")


def test_no_metric_is_nan(road):
    def refuse(constant):
        raise AssertionError(constant)

    files = sorted((road / "reports").rglob("*.json"))
    assert len(files) >= 5
    for file in files:
        json.loads(file.read_text(), parse_constant=refuse)
    tables = sorted((road / "reports").rglob("*.csv"))
    assert len(tables) >= 5
    for table in tables:
        with table.open(newline="") as stream:
            cells = {cell.strip().lower() for row in csv.reader(stream) for cell in row}
        assert not cells & {"nan", "inf", "-inf", "none"}, table


def test_two_runs_from_scratch_give_the_same_bytes(roads):
    first, second = (digests(clone) for clone in roads)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_adding_a_row_and_changing_it_runs_what_follows_and_nothing_else(road, tmp_path):
    clone = copy(road, tmp_path / "clone")
    change(clone, {"generators": {"second": ROW}, "batches": {"second": BATCH}})
    own = ["train_generator@second", "synthesize@second", "gate@second"]
    assert stages_run(dvc(clone, "repro", "gate@second")) == own
    before = digests(clone)

    change(clone, {"generators": {"second": {"seed": 1}}})
    said = dvc(clone, "repro")
    assert sorted(stages_run(said)) == sorted([*own, "study@brain", "release@brain"])
    after = digests(clone)
    assert before["models/second/card.json"] != after["models/second/card.json"]
    unchanged = ("build/", "judges/", "models/randomised/", "batches/brain/randomised/", "reports/gate/brain/random")
    assert all(before[name] == after[name] for name in before if name.startswith(unchanged))
    assert {*STAGES, *own} == {*yaml.safe_load((clone / "dvc.lock").read_text())["stages"]}
