"""What all tests share: an environment without the user's settings, and a tiny prepared store."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from road import patients, road, roads  # noqa: F401  fixtures of the whole road, made once for all files

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("SYNTHGATE_",)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SYNTHGATE_* variable of the user's (a pseudonym key, say) reaches a test."""
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)


@pytest.fixture
def one_thread():
    """Training with the thread count of the `python` fixture's processes, so that bits can be compared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_process(monkeypatch):
    """Work that is usually shared out to worker processes is done here, so that a test can watch it."""
    monkeypatch.setattr("synthgate.workers.cores", lambda: 1)


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], "subprocess.Popen[str]"]:
    """Start a real Python process in tmp_path that can import synthgate and the tests' helpers; ended with the test."""
    started = []

    def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    """The store of tiny_store.PEOPLE."""
    import tiny_store

    return tiny_store.make(tmp_path_factory.mktemp("tiny"))
