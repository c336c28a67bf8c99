import hashlib
import signal

import pytest

from synthgate import files
from synthgate.errors import ArtefactError


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path):
    path = tmp_path / "deep" / "a.nii.gz"
    for text in ("old", "new"):
        with files.replacing(path) as beside:
            assert beside.name.endswith(".nii.gz") and beside.parent == path.parent
            beside.write_text(text)
    assert path.read_text() == "new"
    assert listing(path.parent) == ["a.nii.gz"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "out"
    for name in ("old", "new"):
        with files.replacing(path) as beside:
            beside.mkdir()
            (beside / name).write_text(name)
    assert listing(path) == ["new"]
    assert listing(tmp_path) == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_failing_block_keeps_the_old_and_leaves_nothing_beside(tmp_path, folder):
    path = tmp_path / "out"
    kept = path / "a" if folder else path
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as beside:
        if folder:
            beside.mkdir()
        (beside / "b" if folder else beside).write_text("half")
        raise ZeroDivisionError
    assert kept.read_text() == "old"
    assert listing(tmp_path) == ["out"]
    assert not folder or listing(path) == ["a"]


EMPTY = True


@pytest.mark.parametrize("folder", [False, EMPTY])
def test_a_block_that_writes_nothing_keeps_the_old(tmp_path, folder):
    path = tmp_path / "out"
    kept = path / "a" if folder else path
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("old")
    with pytest.raises(FileNotFoundError), files.replacing(path):
        pass
    assert kept.read_text() == "old"


@pytest.mark.parametrize("folder", [False, True])
def test_killed_in_the_middle_the_old_stays_and_the_next_run_clears_up(tmp_path, python, folder):
    path = tmp_path / "out"
    kept = path / "a" if folder else path
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("old")
    code = f"""
import os, signal
from pathlib import Path
from synthgate.files import replacing
with replacing(Path("out")) as beside:
    if {folder}: beside.mkdir()
    (beside / "a" if {folder} else beside).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(code).wait(30) == -signal.SIGKILL
    assert kept.read_text() == "old"
    with files.replacing(path) as beside:
        if folder:
            beside.mkdir()
        (beside / "a" if folder else beside).write_text("new")
    assert kept.read_text() == "new"
    assert listing(tmp_path) == ["out"]


def test_killed_between_the_two_renames_of_a_folder_the_old_or_the_new_is_there_again(tmp_path, python):
    # the narrowest moment: the old folder is out of the way, the new one is not yet in its place
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    code = """
import os, signal
from pathlib import Path
from synthgate.files import replacing
rename = Path.rename
def once(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
with replacing(Path("out")) as beside:
    beside.mkdir()
    (beside / "a").write_text("new")
    Path.rename = once
"""
    python(code).wait(30)
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "out"):
        raise ZeroDivisionError
    assert (tmp_path / "out" / "a").read_text() in ("old", "new")


def test_json_has_one_form_and_refuses_nan(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": "é"})
    first = path.read_bytes()
    files.write_json(path, {"a": "é", "b": 1})
    assert path.read_bytes() == first
    assert files.read_json(path) == {"a": "é", "b": 1}
    with pytest.raises(ValueError):
        files.write_json(path, float("nan"))
    assert path.read_bytes() == first


def test_unreadable_json_names_the_file(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ArtefactError, match=r"a\.json is missing.*dvc repro"):
        files.read_json(path)
    path.write_text("{")
    with pytest.raises(ArtefactError, match=r"a\.json is not readable JSON"):
        files.read_json(path)


def test_digest_of_a_file_is_its_sha256_and_of_a_folder_sees_names_and_contents(tmp_path):
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"x" * 100_000)
    assert files.digest(folder / "sub" / "a") == hashlib.sha256(b"x" * 100_000).hexdigest()
    seen = {files.digest(folder)}
    (folder / "sub" / "a").write_bytes(b"y")
    seen.add(files.digest(folder))
    (folder / "sub" / "a").rename(folder / "sub" / "b")
    seen.add(files.digest(folder))
    (folder / "sub" / "b").rename(folder / "b")
    seen.add(files.digest(folder))
    (folder / "b").rename(folder / "sub" / "a")
    (folder / "sub" / "a").write_bytes(b"x" * 100_000)
    assert len(seen) == 4 and files.digest(folder) in seen
    assert files.digest_all([folder, folder / "sub"]) != files.digest_all([folder / "sub", folder])


def test_digest_sees_what_lies_below_a_linked_folder_and_a_loop_ends(tmp_path):
    folder = tmp_path / "f"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    folder.mkdir()
    (folder / "case").symlink_to(tmp_path / "one")
    first = files.digest(folder)
    (folder / "case").unlink()
    (folder / "case").symlink_to(tmp_path / "two")
    assert files.digest(folder) != first
    (folder / "again").symlink_to(folder)
    assert files.digest(folder)
