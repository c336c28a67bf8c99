import copy
import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from synthgate import doctor, estimates, params
from synthgate.doctor import Check, examine
from synthgate.estimates import Estimate, Extent

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root(tmp_path):
    """A small repository in which nothing is wrong."""
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    for path, text in (
        ("data/brain/cases.csv", "case_id,patient_id\n"),
        ("splits/brain.csv", "patient,split\na,train\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return tmp_path


def found(root, what):
    (check,) = [check for check in examine(root) if check.what == what]
    return check


def change(root, edit):
    plain = yaml.safe_load((root / "params.yaml").read_text())
    edit(plain)
    (root / "params.yaml").write_text(yaml.safe_dump(plain))


def test_a_fit_machine_and_checkout_pass(root):
    checks = {check.what: check for check in examine(root)}
    assert {"python", "packages", "git", "dvc", "repository", "telemetry", "remote", "params"} <= set(checks)
    assert [str(check) for check in checks.values() if check.grade != "ok"] == []


def test_a_public_source_is_looked_for(root):
    public = {"folder": "public/brain", "digest": "0" * 64}
    privacy = {"epsilon": 8, "delta": 0.001, "clip": 1, "patients": 16, "public": public}
    change(root, lambda plain: plain["generators"]["diffusion"].update(privacy=privacy))
    check = found(root, "public diffusion")
    assert (check.grade, check.detail) == ("fail", "public/brain is missing") and check.remedy
    (root / "public/brain").mkdir(parents=True)
    assert found(root, "public diffusion").grade == "ok"


def test_whatever_fails_says_what_to_do(tmp_path):
    failed = [check for check in examine(tmp_path) if check.grade == "fail"]
    assert {check.what for check in failed} >= {"repository", "params", "packages"}
    assert all(check.remedy for check in failed)


@pytest.mark.parametrize(
    ("path", "what", "told"),
    [
        ("data/brain/cases.csv", "data brain", "dvc pull"), ("splits/brain.csv", "splits brain", "brain.csv"),
        ("params.yaml", "params", "params.yaml is missing"), (".git", "repository", "commit"),
        ("pyproject.toml", "packages", "root"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(root, path, what, told):
    shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
    check = found(root, what)
    assert check.grade == "fail" and told in str(check)


def test_a_repository_without_a_commit_fails(root):
    shutil.rmtree(root / ".git")
    subprocess.run(["git", "-C", str(root), "init", "-q"], check=True, capture_output=True)
    assert found(root, "repository").grade == "fail"


def test_packages_are_held_against_the_ranges_of_pyproject(root):
    (root / "pyproject.toml").write_text('[project]\ndependencies = ["numpy<1", "no-such-thing-of-ours", "pyyaml"]\n')
    check = found(root, "packages")
    assert check.grade == "fail"
    assert "numpy is" in check.detail and "<1" in check.detail and "no-such-thing-of-ours is missing" in check.detail
    assert "pyyaml" not in check.detail


def test_real_patients_need_their_key(root):
    change(root, lambda p: p["studies"]["brain"]["cohort"].update(simulated=False))
    assert found(root, "key brain").grade == "fail"
    (root / ".synthgate").mkdir()
    (root / ".synthgate" / "brain.key").write_text("ab" * 32)
    assert found(root, "key brain").grade == "ok"


@pytest.mark.parametrize("file", ["config", "config.local"])
def test_the_phantoms_remote_must_not_be_the_default(root, file):
    with (root / ".dvc" / file).open("a") as stream:
        stream.write("[core]\n    remote = phantom\n" if file != "config" else "    remote = phantom\n")
    assert found(root, "remote").grade == "fail"
    renamed = "[core]\n    remote = site\n['remote \"site\"']\n    url = ../remotes/phantom\n"
    (root / ".dvc" / "config.local").write_text(renamed)
    assert found(root, "remote").grade == "fail"
    (root / ".dvc" / "config.local").write_text("[core]\n    remote = ours\n")
    assert found(root, "remote").grade == "ok"


def test_telemetry_that_is_on_is_told(root, monkeypatch):
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "1")  # only True counts
    assert "BENTOML_DO_NOT_TRACK" in found(root, "telemetry").detail
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    (root / ".dvc" / "config").write_text("")
    check = found(root, "telemetry")
    assert check.grade == "warn" and "core.analytics" in check.detail


def test_wrong_parameters_are_told_in_one_line(root):
    change(root, lambda p: p["studies"]["brain"]["gate"].update(oops=1))
    check = found(root, "params")
    assert check.grade == "fail" and "gate.oops: unknown key" in check.detail and "\n" not in check.detail


def test_a_held_lock_is_told_with_its_process(root, python):
    path = root / ".scratch" / "study-brain" / "lock"
    path.parent.mkdir(parents=True)
    path.write_text("4711")
    assert not [check for check in examine(root) if check.what == "lock"]
    with path.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        check = found(root, "lock")
    assert check.grade == "warn" and "study-brain is in use by process 4711" in check.detail
    assert path.read_text() == "4711"


def test_examining_imports_nothing_heavy(root, python):
    process = python(
        "import sys; from pathlib import Path; from synthgate import doctor; doctor.examine(Path(sys.argv[1]));"
        "print([m for m in ('torch', 'monai', 'lightning', 'evidently', 'bentoml', 'matplotlib') if m in sys.modules])",
        str(root),
    )
    out, err = process.communicate(timeout=60)
    assert out == "[]\n", err


@pytest.fixture
def measured(monkeypatch):
    """Steps of known duration: the judge's 0.1 s, the arms' 0.2 s; 10 slices, 8 + 2 + 3 patients, 1 MiB of data."""
    plain = yaml.safe_load((ROOT / "params.yaml").read_text())
    steps = plain["studies"]["brain"]["study"]["segmenter"]["steps"]
    monkeypatch.setattr(estimates, "step_seconds", lambda p, **_: 0.2 if p.steps == steps else 0.1)
    size = Extent(13, {"train": 8, "validation": 2, "hold-out": 3}, 10, 2**20, True)
    monkeypatch.setattr(estimates, "painter_seconds", lambda *_: (0.3, 0.01))
    monkeypatch.setattr(estimates, "extent", lambda *_: size)
    return plain


def test_the_road_is_the_sum_of_its_trainings(measured):
    before = estimates.estimate(params.parse(measured))
    row = measured["studies"]["brain"]
    arms = len(row["study"]["arms"]) * row["study"]["draws"]
    trained = arms * row["study"]["segmenter"]["steps"] * 0.2
    assert trained < before.seconds["study@brain"] < trained + estimates.START_S + arms * 2 * 10
    assert before.total_s == pytest.approx(sum(before.seconds.values()))
    assert before.memory_bytes > 2**26

    after = copy.deepcopy(measured)
    after["studies"]["brain"]["study"]["draws"] = 3
    after["studies"]["brain"]["calibrate"]["folds"] = 4
    more = estimates.estimate(params.parse(after))
    grown = more.seconds["study@brain"] - estimates.START_S
    assert grown == pytest.approx(3 * (before.seconds["study@brain"] - estimates.START_S))
    steps = row["calibrate"]["segmenter"]["steps"]
    assert more.seconds["calibrate@brain"] - before.seconds["calibrate@brain"] == pytest.approx(2 * steps * 0.1)


def test_disk_counts_data_stores_and_batches_once_here_and_once_in_the_cache(measured):
    measured["batches"], measured["generators"] = {}, {}
    arms = measured["studies"]["brain"]["study"]["arms"]
    measured["studies"]["brain"]["study"]["arms"] = {name: arm for name, arm in arms.items() if not arm["batches"]}
    measured["studies"]["brain"]["release"]["candidates"] = ["real"]
    x, y = measured["studies"]["brain"]["prepare"]["size"]
    channels = len(measured["studies"]["brain"]["cohort"]["channels"])
    store = 13 * 10 * x * y * (2 * channels + 1)
    assert estimates.estimate(params.parse(measured)).disk_bytes == 2 * (2**20 + store)


def test_every_stage_of_the_road_is_estimated(measured):
    found = {name.split("@")[0] for name in estimates.estimate(params.parse(measured)).seconds}
    assert found == set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dims", [2, 3])
def test_a_real_step_is_measured(dims):
    from tiny_store import segmenter

    assert 0 < estimates.step_seconds(segmenter(dims), 2, 2) < 10


def test_the_extent_is_what_lies_on_disk(tmp_path):
    from tiny_store import volume

    from synthgate.cohort.folder import write_case

    row = params.load(ROOT / "params.yaml").studies["brain"]
    assert not estimates.extent("brain", row, tmp_path).known
    for seed in range(3):
        write_case(tmp_path / "data" / "brain", f"c{seed}", volume(seed))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "brain.csv").write_text("patient,split\na,train\nb,train\nc,validation\nd,hold-out\n")
    size = estimates.extent("brain", row, tmp_path)
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert (size.cases, size.slices, size.known) == (3, 6, True)
    assert size.splits == {"train": 2, "validation": 1, "hold-out": 1}
    assert size.data_bytes == sum(len(path.read_bytes()) for path in files)


@pytest.mark.parametrize(("need", "grade"), [(1, "ok"), (2**60, "fail")])
def test_memory_and_disk_are_held_against_the_need(tmp_path, need, grade):
    checks = {c.what: c for c in doctor.resources(Estimate(memory_bytes=need, disk_bytes=need), tmp_path)}
    assert checks["disk"].grade == grade and checks["memory"].grade in (grade, "warn")
    assert "estimate" in checks["disk"].detail


@pytest.mark.parametrize(("grade", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_exit_code_is_0_unless_something_fails(monkeypatch, capsys, grade, code):
    monkeypatch.setattr(doctor, "examine", lambda root: [Check(grade, "params", "so so", "do this")])
    monkeypatch.setattr(doctor, "estimate", lambda *_: Estimate(seconds={"prepare@brain": 5.0}))
    monkeypatch.setattr(params, "load", lambda path: None)
    assert doctor.run(as_json=True) == code
    value = json.loads(capsys.readouterr().out)
    assert value["checks"][0] == {"grade": grade, "what": "params", "detail": "so so", "remedy": "do this"}
    assert doctor.run() == code
    out = capsys.readouterr().out
    assert f"{grade:4}  params" in out and "do this" in out
    assert (value["estimate"] is None) == (grade == "fail") != ("prepare@brain" in out)
