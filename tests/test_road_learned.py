"""The learned generators on the road: trained, sampled and judged by a real `dvc repro`, and plotted."""

import csv

import pytest
import yaml
from road import ROOT, change, copy, dvc, stages_run

from synthgate.files import read_json

pytestmark = pytest.mark.road
KINDS = ("diffusion", "gan")


@pytest.fixture(scope="module")
def learned(road, tmp_path_factory):
    clone = copy(road, tmp_path_factory.mktemp("learned") / "clone")
    shipped, tiny = (yaml.safe_load((ROOT / name).read_text()) for name in ("params.yaml", "presets/test.yaml"))
    change(clone, {part: {kind: shipped[part][kind] for kind in KINDS} for part in ("generators", "batches")})
    change(clone, {part: {kind: tiny[part][kind] for kind in KINDS} for part in ("generators", "batches")})
    return clone, dvc(clone, "repro", "gate@diffusion", "gate@gan")


def test_both_are_trained_sampled_and_judged(learned):
    clone, said = learned
    stages = ("train_generator", "synthesize", "gate")
    assert set(stages_run(said)) == {f"{stage}@{kind}" for stage in stages for kind in KINDS}
    for kind in KINDS:
        verdict = read_json(clone / f"reports/gate/brain/{kind}/verdict.json")
        assert verdict["verdict"] in ("approved", "limited", "rejected", "undecided")
        assert verdict["sizes"]["cases"] == 8 and verdict["intent"] == "realistic"


def test_again_runs_nothing(learned):
    assert stages_run(dvc(learned[0], "repro", "gate@diffusion", "gate@gan")) == []


def test_training_is_plotted(learned):
    clone, _ = learned
    for kind in KINDS:
        home = clone / "reports/train_generator" / kind
        rows = list(csv.DictReader((home / "curves/checkpoints.csv").open()))
        assert [row["step"] for row in rows] == ["2", "4"]
        assert {path.name for path in (home / "samples").iterdir()} == {"step-000002.png", "step-000004.png"}
    shown = dvc(clone, "plots", "show", "--json")
    assert "reports/train_generator/gan/curves" in shown and "reports/train_generator/gan/samples" in shown
