"""The whole road at test size: clones of the working tree with patients of their own, and how to drive them.

conftest.py hands the fixtures to all tests. They are costly, so a test that changes a clone works on a `copy`.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from synthgate import presets
from synthgate.files import digest, remove

ROOT = Path(__file__).resolve().parent.parent
PATIENTS, SEED = 20, 77
SMALL = {
    "studies": {
        "brain": {
            "prepare": {"size": [48, 64]},
            "calibrate": {"segmenter": {"patch": [48, 64], "steps": 24}},
            "study": {
                "segmenter": {"patch": [48, 64], "steps": 24},
                "arms": {"real_12": None, "mixed_12": None},
            },
        }
    },
    "generators": {"diffusion": None, "gan": None},
    "batches": {"randomised": {"cases": 6}, "diffusion": None, "gan": None},
}
"""On top of the preset test: small slices, two arms, no learned generators (test_road_learned has them); steps enough
to be killed between two checkpoints."""
MADE = ("build", "judges", "models", "batches", "reports", "releases")
STAGES = ["prepare@brain", "calibrate@brain", "train_generator@randomised", "synthesize@randomised",
          "gate@randomised", "study@brain", "release@brain"]  # fmt: skip


def environment(clone: Path) -> dict[str, str]:
    """One thread (so that bits can be compared), the clone's code, and nothing of the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SYNTHGATE_")}
    who = {f"GIT_{role}_{part}": "road@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {
        "PATH": path,
        "PYTHONPATH": str(clone / "src"),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }
    return kept | who | own | {"GIT_CONFIG_GLOBAL": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}


def run(clone: Path, *command: str, fails: bool = False) -> str:
    """Run a command in the clone; what it said on both channels. It must succeed or, with `fails`, must not."""
    done = subprocess.run(
        command, cwd=clone, env=environment(clone), text=True, timeout=900,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def dvc(clone: Path, *arguments: str, fails: bool = False) -> str:
    return run(clone, sys.executable, "-m", "dvc", *arguments, fails=fails)


def synthgate(clone: Path, *arguments: str, fails: bool = False) -> str:
    return run(clone, sys.executable, "-m", "synthgate.cli", *arguments, fails=fails)


def stage(clone: Path, name: str, row: str, fails: bool = False) -> str:
    """Run a stage's script beside DVC, which would first repair what a test has planted."""
    return run(clone, sys.executable, "-m", f"pipelines.{name}", row, fails=fails)


def refused(said: str, *words: str) -> None:
    """Assert that an error is one clear message that holds all the words."""
    assert all(word in said for word in words), said
    assert "Traceback" not in said, f"expected one clear message, got a traceback:\n{said}"


def start(clone: Path, *arguments: str) -> "tuple[subprocess.Popen[bytes], Path]":
    """Start dvc in a session (and so a process group) of its own; the process and its log."""
    log = clone.parent / f"{clone.name}-{time.monotonic_ns()}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments], cwd=clone, env=environment(clone),
            stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    return process, log


def until(seen: Callable[[], object], process: "subprocess.Popen[bytes]", log: Path, seconds: float = 300) -> None:
    """Wait until something is seen while the process lives."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert process.poll() is None and time.monotonic() < deadline, f"never seen:\n{log.read_text()}"
        time.sleep(0.005)


def end(process: "subprocess.Popen[bytes]") -> None:
    """`kill -9` of the process and of all it started, none of which outlives this call."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in members(process.pid)):
        assert time.monotonic() < deadline, members(process.pid)
        time.sleep(0.01)


def members(group: int) -> list[int]:
    """The processes of a group, zombies too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) == group:
                found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stages_run(said: str) -> list[str]:
    """The stages that a `dvc repro` ran, in order."""
    return re.findall(r"^Running stage '([^']+)'", said, re.MULTILINE)


def change(clone: Path, changes: object) -> None:
    """Edit the clone's params.yaml."""
    presets.update(changes, clone)


def digests(clone: Path) -> dict[str, str]:
    """Digest of every file that the road made."""
    files = [path for name in MADE for path in (clone / name).rglob("*") if path.is_file()]
    return {file.relative_to(clone).as_posix(): digest(file) for file in files}


def half_made(clone: Path) -> list[Path]:
    """What an interrupted writer would leave behind."""
    return [p for p in clone.rglob(".*") if p.name.startswith((".half.", ".old."))]


def clone_of_working_tree(path: Path, remotes: bool = False) -> Path:
    """A repository whose one commit is the working tree as it is, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if (ROOT / name).is_file() and (remotes or not name.startswith("remotes/")):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    run(path, "git", "init", "-q")
    commit(path, "the working tree")
    return path


def commit(clone: Path, message: str) -> None:
    run(clone, "git", "add", "-A")
    run(clone, "git", "commit", "-q", "-m", message)


def copy(clone: Path, to: Path) -> Path:
    """A copy that has the clone's artefacts and none of its memories: no scratch, no run-cache, no locks."""
    run(clone, "cp", "-r", "--reflink=auto", str(clone), str(to))
    for name in (".scratch", ".dvc/cache/runs", ".dvc/tmp"):
        remove(to / name)
    return to


def forget(clone: Path, name: str) -> None:
    """Let a stage not have run: no outs, no entry in dvc.lock, no scratch, no run-cache."""
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    for out in lock["stages"].pop(name)["outs"]:
        remove(clone / out["path"])
    (clone / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    remove(clone / ".dvc/cache/runs")
    remove(clone / ".scratch")


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort folder of simulated patients, none of them shipped."""
    home = tmp_path_factory.mktemp("patients")
    synthgate(ROOT, "phantom", str(home / "phantom"), "--patients", str(PATIENTS), "--seed", str(SEED))
    return home / "phantom"


@pytest.fixture(scope="session")
def roads(tmp_path_factory: pytest.TempPathFactory, patients: Path) -> Iterator[list[Path]]:
    """Two clones in which `dvc repro` ran from scratch and was not interrupted, both at once, one core each."""
    home = tmp_path_factory.mktemp("road")
    first = clone_of_working_tree(home / "first")
    for shipped in ("data.dvc", "splits/brain.csv", "dvc.lock"):
        remove(first / shipped)
    synthgate(first, "adopt", str(patients), "--layout", "cohort", "--study", "brain")
    synthgate(first, "params", "use", "test")
    change(first, SMALL)
    commit(first, "other patients")
    clones = [first, copy(first, home / "second")]
    running = [start(clone, "repro") for clone in clones]
    for process, log in running:
        assert process.wait(900) == 0, log.read_text()
        assert stages_run(log.read_text()) == STAGES
    for clone in clones:
        commit(clone, "the road")
    yield clones
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def road(roads: list[Path]) -> Path:
    """A clone in which the whole road ran; not to be changed."""
    return roads[0]
