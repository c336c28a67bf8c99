"""`kill -9` of a running stage, and a stage that outlives its `dvc`: the same command ends as if nothing had been."""

import os
import re
import signal

import pytest
from road import alive, copy, digests, dvc, end, forget, half_made, start, until

pytestmark = pytest.mark.road
MOMENTS = {
    "train_generator@randomised": ("models/randomised", "train_generator-randomised/*/parts/[!.]*.safetensors"),
    "calibrate@brain": ("judges/brain", "calibrate-brain/*/fold-1.ckpt"),
    "study@brain": ("models/arms/brain", "study-brain/*/mixed-0.ckpt"),
}
"""Stage → its out, and the piece of its scratch that says it is in the middle of its work."""


@pytest.fixture
def clone(road, tmp_path):
    return copy(road, tmp_path / "clone")


def pieces(clone):
    """What scratch holds finished: path → (inode, time of writing)."""
    home = clone / ".scratch"
    files = [p for p in home.rglob("*") if p.is_file() and p.suffix != ".ckpt" and p.name != "lock"]
    whole = [p for p in files if not any(part.startswith(".half.") for part in p.relative_to(home).parts)]
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in whole}


def holder(clone, name):
    """The process that works in a scratch folder."""
    return int((clone / ".scratch" / name.replace("@", "-") / "lock").read_text())


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_stage_continues_and_ends_the_same(road, clone, name):
    out, moment = MOMENTS[name]
    forget(clone, name)
    process, log = start(clone, "repro", name)
    until(lambda: list((clone / ".scratch").glob(moment)), process, log)
    end(process)
    assert not alive(holder(clone, name)) and not (clone / out).exists()
    finished = pieces(clone)
    assert finished

    said = dvc(clone, "repro", name)
    # what was finished was not made again, and a training went on after its checkpoint
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in finished} == finished
    steps = re.findall(r"^(fold-\d|real-0|mixed-0): (\d+)/24 steps", said, re.MULTILINE)
    assert not [key for key, _ in steps if key == {"calibrate@brain": "fold-0", "study@brain": "real-0"}.get(name)]
    assert name.startswith("train_generator") or int(steps[0][1]) > 4
    assert half_made(clone) == []
    assert digests(clone) == digests(road)
    assert "up to date" in dvc(clone, "status")


def test_a_second_repro_waits_for_a_stage_that_outlived_its_dvc(road, clone):
    name = "calibrate@brain"
    forget(clone, name)
    process, log = start(clone, "repro", name)
    until(lambda: list((clone / ".scratch").glob("calibrate-brain/*/fold-0")), process, log)
    survivor = holder(clone, name)
    os.kill(survivor, signal.SIGSTOP)  # it would end before the second one has even started
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert alive(survivor)
        second, said = start(clone, "repro", name)
        until(lambda: f"waiting for process {survivor}" in said.read_text(), second, said)
    finally:
        os.kill(survivor, signal.SIGCONT)
    assert second.wait(300) == 0, said.read_text()
    assert not alive(survivor)
    # the second takes what the first finished, and measures nobody again
    assert not re.search(r"^fold-\d: ", said.read_text(), re.MULTILINE)
    assert half_made(clone) == []
    assert digests(clone) == digests(road)
    assert "up to date" in dvc(clone, "status")
