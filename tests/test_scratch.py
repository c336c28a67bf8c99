import os
import signal
import time

import pytest

from synthgate import scratch
from synthgate.errors import BusyError
from synthgate.scratch import Scratch

HOLD = """
import sys, time
from pathlib import Path
from synthgate.scratch import Scratch
with Scratch.opened("work", {}, root=Path("scratch")):
    print("held", flush=True)
    sys.stdin = None
    time.sleep(float(sys.argv[1]))
    Path("finished").write_text("x")
"""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "scratch"


def test_a_piece_is_made_once_and_a_failed_one_again(root):
    made = []

    def make(path):
        made.append(path)
        path.write_text("half")
        if len(made) == 1:
            raise ZeroDivisionError
        path.write_text("whole")

    with pytest.raises(ZeroDivisionError), Scratch.opened("work", {"a": 1}, root=root) as opened:
        opened.once("piece", make)
    for _ in range(2):
        with Scratch.opened("work", {"a": 1}, root=root) as opened:
            assert opened.once("piece", make).read_text() == "whole"
            assert opened.within("inner").path.parent == opened.path
    assert len(made) == 2


def test_another_key_starts_afresh_and_removes_what_the_other_left(root):
    paths = []
    for key in ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 1}):
        with Scratch.opened("work", key, root=root) as opened:
            paths.append(opened.path)
            opened.once("piece", lambda path: path.write_text("x"))
            assert [p for p in (root / "work").iterdir() if p.is_dir()] == [opened.path]
    assert paths[0] == paths[3] != paths[1] == paths[2]


def test_names_do_not_disturb_each_other(root):
    with Scratch.opened("a", {}, root=root) as first, Scratch.opened("b", {}, root=root, wait_s=0) as second:
        assert first.path.is_dir() and second.path.is_dir()


def test_changed_code_starts_afresh(root, tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(scratch, "PACKAGE", package)
    paths = set()
    for text in ("a = 1", "a = 2", "a = 2"):
        (package / "code.py").write_text(text)
        with Scratch.opened("work", {}, root=root) as opened:
            paths.add(opened.path)
    assert len(paths) == 2


def test_a_second_process_waits_for_the_first(root, tmp_path, python):
    process = python(HOLD, "1.5")
    assert process.stdout.readline() == "held\n"
    with Scratch.opened("work", {}, root=root, wait_s=60):
        assert (tmp_path / "finished").exists()


def test_who_waits_too_long_is_told_which_process_holds_it(root, python):
    process = python(HOLD, "60")
    assert process.stdout.readline() == "held\n"
    start = time.monotonic()
    told = pytest.raises(BusyError, match=rf"in use by process {process.pid}\b")
    with told, Scratch.opened("work", {}, root=root, wait_s=0.5):
        pass
    assert 0.4 < time.monotonic() - start < 10


def test_a_killed_process_gives_the_lock_back(root, tmp_path, python):
    process = python(HOLD, "60")
    assert process.stdout.readline() == "held\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    with Scratch.opened("work", {}, root=root, wait_s=0):
        assert (root / "work" / "lock").read_text() == str(os.getpid())
    assert not (tmp_path / "finished").exists()
