"""The guard of the phantom remote, against a remote that DVC itself wrote."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthgate.cohort import guard


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose data folder was pushed to its phantom remote by DVC."""
    root = tmp_path_factory.mktemp("pushed")
    (root / "data" / "brain").mkdir(parents=True)
    for name in ("a", "b"):
        (root / "data" / "brain" / f"{name}.txt").write_text(name * 10)
    config = root / "remotes" / "config"
    config.parent.mkdir()
    config.write_text(
        "[core]\n    analytics = false\n    no_scm = true\n['remote \"phantom\"']\n    url = ../remotes/phantom\n"
    )
    dvc(root, "init", "--no-scm", "--quiet")
    config.replace(root / ".dvc" / "config")
    dvc(root, "add", "data", "--quiet")
    dvc(root, "push", "-r", "phantom", "data.dvc", "--quiet")
    return root


def dvc(root: Path, *arguments: str) -> None:
    """Run DVC in `root`, as a user whose machine has no settings of its own."""
    environment = os.environ | {"HOME": str(root), "DVC_NO_ANALYTICS": "1", "XDG_CONFIG_HOME": str(root / ".config")}
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, env=environment, timeout=120)


@pytest.fixture
def repository(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    shutil.copytree(pushed, root)
    monkeypatch.chdir(root)
    assert guard.main(["--write"]) == 0
    return root


def listed() -> list[str]:
    return guard.LIST.read_text().splitlines()


def test_what_dvc_pushed_is_listed_sorted_and_accepted(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(listed()) == 3  # two files and the listing of their folder
    assert listed() == sorted(listed())
    assert sum(name.endswith(".dir") for name in listed()) == 1
    assert guard.main([]) == 0
    assert "3 files" in capsys.readouterr().out


def test_patients_that_were_pushed_are_refused_by_name(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(guard.present())
    (repository / "data" / "brain" / "a.txt").write_text("a real patient")
    dvc(repository, "add", "data", "--quiet")
    dvc(repository, "push", "-r", "phantom", "data.dvc", "--quiet")
    added = set(guard.present()) - before
    assert len(added) == 2
    assert guard.main([]) == 1
    told = capsys.readouterr().err
    assert all(name in told for name in added)
    assert not any(name in told for name in before)


@pytest.mark.parametrize("name", ["files/md5/ab/notes.txt", ".hidden", "cases.csv"])
def test_any_unlisted_file_is_refused(repository: Path, name: str) -> None:
    (guard.REMOTE / name).parent.mkdir(parents=True, exist_ok=True)
    (guard.REMOTE / name).write_text("x")
    assert guard.problems() == [
        f"remotes/phantom/{name}: not on remotes/phantom.list; remove it, only the phantom may lie here"
    ]


def test_a_missing_file_is_told(repository: Path) -> None:
    (guard.REMOTE / listed()[0]).unlink()
    [told] = guard.problems()
    assert listed()[0] in told and "missing" in told


@pytest.mark.parametrize("kind", ["file", "listing"])
def test_content_under_a_listed_name_is_checked(repository: Path, kind: str) -> None:
    name = next(n for n in listed() if n.endswith(".dir") == (kind == "listing"))
    file = guard.REMOTE / name
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b" ")
    [told] = guard.problems()
    assert name in told and "MD5" in told


def test_a_link_is_not_a_file_of_the_phantom(repository: Path) -> None:
    file = guard.REMOTE / listed()[0]
    file.rename(repository / "elsewhere")
    file.symlink_to(repository / "elsewhere")
    [told] = guard.problems()
    assert "link" in told


def test_writing_a_list_does_not_bless_a_name_that_dvc_would_not_give(repository: Path) -> None:
    (guard.REMOTE / "cases.csv").write_text("patient")
    assert guard.main(["--write"]) == 1


def test_without_a_list_nothing_passes(repository: Path) -> None:
    guard.LIST.unlink()
    [told] = guard.problems()
    assert "remotes/phantom.list is missing" in told
