import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from tiny_cohort import CHANNELS, YEARS, brats, cohort, lgg, lgg_patient, rewrite, save, volume

from synthgate import params
from synthgate.cohort import adopt as adopting
from synthgate.cohort import declare, folder, identity, splits, track
from synthgate.cohort.adopt import adopt
from synthgate.cohort.readers import read
from synthgate.errors import BusyError, CohortError, ParamsError
from synthgate.files import digest, read_json, write_json

PARAMS = Path(__file__).parent.parent / "params.yaml"


def run(root, *command):
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A repository with dvc and a phantom remote inside it, before anything is adopted."""
    root = tmp_path_factory.mktemp("bare")
    run(root, "git", "init", "-q")
    assert run(root, sys.executable, "-m", "dvc", "init", "-q").returncode == 0
    config = "[core]\n    analytics = false\n['remote \"phantom\"']\n    url = ../remotes/phantom\n"
    (root / ".dvc/config").write_text(config)
    return root


@pytest.fixture
def root(bare, tmp_path, monkeypatch):
    monkeypatch.delenv(identity.VARIABLE, raising=False)
    path = tmp_path / "repository"
    run(tmp_path, "cp", "-r", str(bare), str(path))
    text = PARAMS.read_text()
    (path / "params.yaml").write_text(text.replace("simulated: false", "simulated: true"))
    return path


@pytest.fixture
def quick(monkeypatch):
    """dvc's part is left out where a test is not about it."""
    monkeypatch.setattr(track, "dvc", lambda root, *arguments: "")


def phantom(path, count=9):
    cohort(path, count)
    write_json(path / "source.json", {"simulated": True, "terms": ["free"], "flags": {}})
    return path


def state(root):
    names = ("data", "splits", "params.yaml", "data.dvc", ".synthgate/brain.key")
    return [digest(root / name) if (root / name).exists() else None for name in names]


@pytest.mark.parametrize("year", YEARS)
def test_a_brats_copy_adopts_to_identical_cases(tmp_path, root, quick, year):
    adopt(brats(tmp_path / "brats", year), "brats", "brain", root=root)
    source = read(root / "data/brain", "cohort")
    assert len(source.cases) == 9 and source.channels == CHANNELS and not source.problems
    for seed, case in enumerate(source.cases):
        given, got = volume(seed), case.load()
        np.testing.assert_array_equal(got.affine, given.affine)
        np.testing.assert_array_equal(got.label, given.label)
        assert all(np.array_equal(got.images[c], given.images[c]) for c in CHANNELS) and got.spacing_known
    row = params.load(root / "params.yaml").studies["brain"]
    assert row.cohort.regions == {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)} and not row.cohort.simulated


def test_lgg_becomes_the_study(tmp_path, root, quick):
    problems = adopt(lgg(tmp_path / "lgg", 12), "lgg", "brain", root=root)
    assert {p.grade for p in problems} == {"flag", "note"} and "dvc remote add -d" in problems[-1].remedy
    row = params.load(root / "params.yaml").studies["brain"]
    assert row.cohort.channels == ("t1", "t1ce", "flair") and row.cohort.regions == {"WT": (1,)}
    assert row.prepare.size == (16, 16) == row.calibrate.segmenter.patch == row.study.segmenter.patch
    table = splits.read(root / "splits/brain.csv")
    assert Counter(table.values()) == {"train": 8, "validation": 2, "hold-out": 2}
    key = identity.key_for("brain", False, root=root)
    assert list(table) == [identity.pseudonym(key, c.patient_id) for c in read(root / "data/brain", "cohort").cases]
    facts = read_json(root / "data/brain/source.json")
    assert "NC-SA" in facts["terms"][0] and facts["labels"] == [1] and facts["simulated"] is False
    written = "".join(str(p.relative_to(root)) for p in (root / "data").rglob("*"))
    assert "19990101" not in written and not read(root / "data/brain", "cohort").cases[0].load().spacing_known


def test_comments_and_other_rows_of_the_parameters_stay(tmp_path, root, quick):
    before = (root / "params.yaml").read_text()
    adopt(lgg(tmp_path / "lgg"), "lgg", "brain", root=root)
    after = (root / "params.yaml").read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert {a.split(":")[0].strip() for a, _ in changed} <= {"simulated", "channels", "regions", "size", "patch"}


def test_dry_run_reports_faults_and_writes_nothing(tmp_path, root):
    source = cohort(tmp_path / "source", 3)
    rewrite(source / "case-01/label.nii.gz", lambda v: v + 9)
    before = digest(root)
    assert [p.grade for p in adopt(source, "cohort", "brain", root=root, dry_run=True)] == ["fault"]
    assert digest(root) == before


def test_faults_stop_with_the_whole_list_and_nothing_changes(tmp_path, root):
    source = cohort(tmp_path / "source", 6)
    rewrite(source / "case-01/label.nii.gz", lambda v: v + 9)
    (source / "case-02/t1.nii.gz").unlink()
    save(source / "case-03/t1.nii.gz", volume(3).images["t1"], descrip=b"a text")
    before = state(root)
    with pytest.raises(CohortError) as error:
        adopt(source, "cohort", "brain", root=root)
    text = str(error.value)
    assert (
        "2 faults; nothing was changed" in text
        and "case-01" in text
        and "case-02/t1.nii.gz" in text
        and "flag:" in text
    )
    assert state(root) == before


def test_a_study_without_a_row_and_a_place_without_dvc(tmp_path, root):
    source = cohort(tmp_path / "source", 6)
    with pytest.raises(ParamsError, match=r"no row 'lung'; the rows are brain"):
        adopt(source, "cohort", "lung", root=root)
    run(root, "rm", "-r", ".dvc")
    with pytest.raises(CohortError, match="dvc init"):
        adopt(source, "cohort", "brain", root=root)
    assert not (root / "data").exists()


def test_no_lesion_in_one_split_is_a_fault(tmp_path, root):
    source = cohort(tmp_path / "source", 9)
    for number in range(2, 9):
        rewrite(source / f"case-{number:02d}/label.nii.gz", lambda v: v * 0)
    with pytest.raises(CohortError, match=r"no patient with a lesion in .*2 patients have one"):
        adopt(source, "cohort", "brain", root=root)
    rewrite(source / "case-02/label.nii.gz", lambda v: volume(2).label)
    adopt(source, "cohort", "brain", root=root, dry_run=True)


def test_patients_added_later_move_nobody(tmp_path, root, quick):
    source = lgg(tmp_path / "lgg", 9)
    adopt(source, "lgg", "brain", root=root)
    first, key = (root / "splits/brain.csv").read_text(), (root / ".synthgate/brain.key").read_text()
    for seed in range(9, 15):
        lgg_patient(source / f"TCGA_QQ_A{seed:03d}_19990101", seed)
    run(source, "rm", "-r", "TCGA_QQ_A000_19990101")
    problems = adopt(source, "lgg", "brain", root=root)
    second = (root / "splits/brain.csv").read_text()
    assert second.startswith(first) and len(second.splitlines()) == 16
    assert any("1 patients of the table are not in this source" in p.what for p in problems)
    assert (root / ".synthgate/brain.key").read_text() == key


def test_a_lost_key_is_not_replaced(tmp_path, root, quick):
    source = lgg(tmp_path / "lgg", 9)
    adopt(source, "lgg", "brain", root=root)
    (root / ".synthgate/brain.key").unlink()
    before = state(root)
    with pytest.raises(CohortError, match="key of this study's pseudonyms is missing"):
        adopt(source, "lgg", "brain", root=root)
    assert state(root) == before


def test_adopting_in_place_changes_no_byte_and_other_places_in_data_are_refused(tmp_path, root, quick):
    adopt(lgg(tmp_path / "lgg", 9), "lgg", "brain", root=root)
    before = state(root)
    adopt(root / "data/brain", "cohort", "brain", root=root)
    assert state(root) == before
    for place, layout in ((root / "data", "cohort"), (root / "data/brain", "brats"), (root, "brats")):
        with pytest.raises(CohortError, match="move it out of there"):
            adopt(place, layout, "brain", root=root)
    assert state(root) == before


def test_an_interrupted_adopt_leaves_old_or_new_and_runs_again(tmp_path, root, quick, monkeypatch):
    adopt(phantom(tmp_path / "phantom"), "cohort", "brain", root=root)
    old, source = digest(root / "data/brain"), lgg(tmp_path / "lgg", 9)
    steps = [(folder, "write_table"), (splits, "write"), (declare, "write"), (track, "add"), (track, "name_remote")]
    for module, name in steps:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                adopt(source, "lgg", "brain", root=root)
        assert [p.name for p in (root / "data").iterdir()] == ["brain"]
        assert digest(root / "data/brain") == old or len(read(root / "data/brain", "cohort").cases) == 9
    adopt(source, "lgg", "brain", root=root)
    interrupted = [(root / "params.yaml").read_text(), list(splits.read(root / "splits/brain.csv").values())]
    other = tmp_path / "other"
    run(tmp_path, "cp", "-r", str(root), str(other))
    run(other, "rm", "-r", "data", "splits", ".synthgate")
    (other / "params.yaml").write_text(PARAMS.read_text())
    adopt(source, "lgg", "brain", root=other)
    assert interrupted == [(other / "params.yaml").read_text(), list(splits.read(other / "splits/brain.csv").values())]


def test_what_a_killed_process_left_is_cleared(tmp_path, root, quick):
    source = phantom(tmp_path / "phantom")
    adopt(source, "cohort", "brain", root=root)
    before = digest(root / "data")
    (root / "data/brain").rename(root / "data/.4242.old.brain")  # killed between the two renames
    cohort(root / "data/.4242.half.brain", 1)
    adopt(root / "data/brain", "cohort", "brain", root=root)
    assert digest(root / "data") == before


def test_two_adopts_at_once_are_refused(tmp_path, root, monkeypatch):
    locked = adopting.locked
    monkeypatch.setattr(adopting, "locked", lambda path, wait_s: locked(path, 0.1))
    with locked(root / ".synthgate/adopt.lock", 0), pytest.raises(BusyError, match="in use by process"):
        adopt(phantom(tmp_path / "phantom"), "cohort", "brain", root=root)


def test_real_patients_cannot_reach_the_phantom_remote(tmp_path, root):
    remote = root / "remotes/phantom"
    adopt(phantom(tmp_path / "phantom"), "cohort", "brain", root=root)
    assert YAML().load(root / "data.dvc")["outs"][0]["remote"] == "phantom"
    assert params.load(root / "params.yaml").studies["brain"].cohort.simulated
    assert not (root / ".synthgate/brain.key").exists()
    assert run(root, sys.executable, "-m", "dvc", "push").returncode == 0
    pinned = digest(remote)

    run(root, "rm", "-r", "data", ".dvc/cache")  # a fresh clone: what data.dvc pins is not here yet
    adopt(lgg(tmp_path / "lgg"), "lgg", "brain", root=root)
    assert "remote" not in YAML().load(root / "data.dvc")["outs"][0]
    assert run(root, sys.executable, "-m", "dvc", "push").returncode != 0
    assert digest(remote) == pinned

    # the site's own remote takes them, and only it
    run(root, sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "site", str(tmp_path / "site"))
    assert run(root, sys.executable, "-m", "dvc", "push").returncode == 0
    assert digest(remote) == pinned and any((tmp_path / "site").rglob("*.dir"))


def test_a_default_or_named_remote_that_is_the_phantoms_is_refused(tmp_path, root, quick):
    source = lgg(tmp_path / "lgg")
    with pytest.raises(CohortError, match="no remote 'phantom' for this cohort"):
        adopt(source, "lgg", "brain", root=root, remote="phantom")
    with pytest.raises(CohortError, match="no remote 'nowhere'"):
        adopt(source, "lgg", "brain", root=root, remote="nowhere")
    config = root / ".dvc/config"
    config.write_text(config.read_text().replace("[core]", "[core]\n    remote = phantom"))
    with pytest.raises(CohortError, match="default remote is the phantom's"):
        adopt(source, "lgg", "brain", root=root)
    assert not (root / "data").exists()


def test_other_studies_data_does_not_drop_out(root, monkeypatch):
    def unreachable(*_):
        raise CohortError("no such remote")

    monkeypatch.setattr(track, "dvc", unreachable)
    splits.write(root / "splits/lung.csv", {"a": "train"})
    (root / "data.dvc").write_text("outs:\n- md5: 0.dir\n  path: data\n")
    with pytest.raises(CohortError, match="data of lung is not here"):
        track.pull(root, ["lung"])
    (root / "data/lung").mkdir(parents=True)
    track.pull(root, ["lung"])


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        ((1,), {1}, {"WT": (1,)}),
        ((1, 2, 4), {1, 2}, {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}),
        ((1, 2, 3), {1, 2, 3}, {"all": (1, 2, 3), "label-1": (1,), "label-2": (2,), "label-3": (3,)}),
        ((2,), {2}, {"all": (2,)}),
    ],
)
def test_regions(labels, values, expected):
    assert declare.regions_of(labels, values) == expected


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [([(70, 90)] * 9, (80, 96)), ([(110, 125)] * 9, (96, 96)), ([(50, 125)] * 9, (48, 96)), ([(6, 6)], (16, 16))],
)
def test_size(boxes, expected):
    assert declare.size_of(boxes) == expected
