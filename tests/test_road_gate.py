"""The gate as a command, on batches that others made, and the gate of a merge request."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import road as roads_of
from road import commit, dvc, environment, run, synthgate

from synthgate import cards
from synthgate.cohort import folder, identity, nifti, splits
from synthgate.files import digest, read_json, remove

pytestmark = pytest.mark.road
EXITS = {"approved": 0, "rejected": 1, "undecided": 2, "limited": 3}


@pytest.fixture(scope="module")
def clone(road, tmp_path_factory):
    return roads_of.copy(road, tmp_path_factory.mktemp("gate") / "clone")


@pytest.fixture
def outside(patients, tmp_path):
    """What somebody else's tool would hand over: NIfTI per case, and a table with nothing but case ids."""
    made = tmp_path / "their batch"
    for number, row in enumerate(folder.read_table(patients)[:6]):
        shutil.copytree(patients / row["case_id"], made / f"synth{number}")
        for channel in ("t1", "t1ce", "t2", "flair"):
            path = made / f"synth{number}" / f"{channel}.nii.gz"
            volume = nifti.assemble({channel: path}, None)
            image = volume.images[channel]
            rng = np.random.default_rng(number)
            changed = np.where(image > 0, np.rint(image * 0.9 + rng.normal(0, 5, image.shape)).clip(1), 0)
            nifti.write(path, changed.astype(np.int16), volume.affine, True)
    (made / "cases.csv").write_text("case_id\n" + "".join(f"synth{n}\n" for n in range(6)))
    return made


def gate(clone, batch, *more):
    """Exit code, standard output and standard error of `synthgate gate --json`."""
    command = [
        sys.executable,
        "-m",
        "synthgate.cli",
        "gate",
        "--study",
        "brain",
        "--batch",
        str(batch),
        "--json",
        *more,
    ]
    done = subprocess.run(command, cwd=clone, env=environment(clone), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_somebody_elses_batch_is_judged_and_what_it_does_not_say_is_named(clone, outside, tmp_path):
    before = run(clone, "git", "status", "--porcelain")
    code, said, _ = gate(clone, outside, "--out", str(tmp_path / "kept"))
    found = json.loads(said)
    assert code == EXITS[found["verdict"]]
    assert found["reasons"] and all(isinstance(reason, str) for reason in found["reasons"])
    silent = {f["name"] for f in found["findings"] if f["outcome"] == "not_provided"}
    assert {"provenance", "lineage", "shares_site", "shares_sex", "shares_age", "undeclared_anatomies"} <= silent
    assert found["intent"] == "realistic", "the strictest, since it does not say"
    assert found["sizes"]["cases"] == 6 and len({c["kind"] for c in found["controls"]}) >= 12
    assert read_json(tmp_path / "kept/verdict.json") == found
    assert {"data_docs.html", "evidently.html"} <= {file.name for file in (tmp_path / "kept/report").iterdir()}
    assert run(clone, "git", "status", "--porcelain") == before


def test_a_folder_that_lacks_a_channel_is_rejected_with_the_file_named(clone, outside):
    (outside / "synth2" / "t2.nii.gz").unlink()
    code, said, _ = gate(clone, outside)
    found = json.loads(said)
    assert (code, found["verdict"]) == (1, "rejected")
    assert "synth2" in found["reasons"][0] and "t2" in found["reasons"][0]


@pytest.mark.parametrize("harm", ["no folder", "no table", "no column", "no study", "out exists"])
def test_what_cannot_be_judged_is_one_clear_error_and_exit_2(clone, outside, tmp_path, harm):
    batch, more = outside, ()
    if harm == "no folder":
        batch = tmp_path / "nothing here"
    if harm == "no table":
        (outside / "cases.csv").unlink()
    if harm == "no column":
        (outside / "cases.csv").write_text("name\nsynth0\n")
    if harm == "no study":
        more = ("--study", "knee")
    if harm == "out exists":
        more = ("--out", str(tmp_path))
    code, said, error = gate(clone, batch, *more)
    assert code == 2 and not said and "Traceback" not in error
    named = {"no study": "knee", "out exists": str(tmp_path)}.get(harm, str(batch))
    assert named in error and error.count("synthgate:") == 1


def test_our_own_batch_gets_the_same_verdict_by_hand(clone, road):
    code, said, _ = gate(clone, "batches/brain/randomised")
    kept = read_json(road / "reports/gate/brain/randomised/verdict.json")
    assert json.loads(said) == kept and code == EXITS[kept["verdict"]]


def test_a_merge_of_a_planted_batch_is_refused_in_words(clone, tmp_path):
    """A branch brings a batch that holds a validation patient; what the public workflow prints refuses it."""
    there = roads_of.copy(clone, tmp_path / "merged")
    base = run(there, "git", "rev-parse", "HEAD").strip()
    run(there, "git", "checkout", "-q", "-b", "planted")
    batch = there / "batches/brain/randomised"
    key = identity.key_for("brain", True, root=there)
    held = {who for who, split in splits.read(there / "splits/brain.csv").items() if split == "validation"}
    row = next(r for r in folder.read_table(there / "data/brain") if identity.pseudonym(key, r["patient_id"]) in held)
    victim = folder.read_table(batch)[0]["case_id"]
    remove(batch / victim)
    shutil.copytree(there / "data/brain" / row["case_id"], batch / victim)
    cards.write(batch, cards.read(batch))
    dvc(there, "commit", "-f", "synthesize@randomised")
    dvc(there, "repro", "gate@randomised")
    commit(there, "a batch with a patient in it")
    run(there, "git", "checkout", "-q", "-B", "main", base)
    run(there, "git", "merge", "-q", "--no-ff", "planted", "-m", "merge")
    assert digest(batch / victim) == digest(there / "data/brain" / row["case_id"])

    diff = dvc(there, "metrics", "diff", "--md", base)
    said = synthgate(there, "verdict", "--markdown", "--check", fails=True)
    assert "verdict.json" in diff
    assert "**rejected**" in said and victim in said and "the image of a real patient" in said
    assert "takes 0.25 of its training from randomised, which is rejected" in said
