import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthgate import workers
from synthgate.errors import CohortError, WorkerError
from synthgate.scratch import locked

forks = pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")

KILLED = r"""
import os, sys, time
from pathlib import Path
from synthgate import workers
from synthgate.scratch import locked

def work(item):
    os.write(1, f"{os.getpid()}\n".encode())
    time.sleep(600)

with locked(Path(sys.argv[1]), 1.0):
    list(workers.each(work, range(2)))
"""


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_results_come_in_the_order_of_the_items_whatever_is_done_first():
    def slow_at_first(item):
        time.sleep(0.3 if item == 0 else 0)
        return item, os.getpid()

    assert [item for item, _ in workers.each(slow_at_first, range(7))] == list(range(7))
    assert list(workers.each(slow_at_first, [])) == []


@forks
def test_work_is_done_in_other_processes_at_the_same_time():
    assert os.getpid() not in set(workers.each(lambda _: os.getpid(), range(4)))
    start = time.monotonic()
    list(workers.each(lambda _: time.sleep(2), range(2)))
    assert time.monotonic() - start < 3.5


def test_an_error_of_a_piece_is_raised_when_its_turn_comes():
    def fails_at_two(item):
        if item == 2:
            raise CohortError("case 2 is broken")
        return item

    seen = []
    with pytest.raises(CohortError, match="case 2 is broken"):
        seen.extend(workers.each(fails_at_two, range(4)))  # extend keeps what came before
    with pytest.raises(CohortError, match="case 2 is broken"):
        for item in workers.each(fails_at_two, range(4)):
            seen.append(item)
    assert seen[-2:] == [0, 1]


@forks
def test_after_an_error_nobody_waits_for_the_others():
    def one_fails(item):
        if item == 0:
            raise CohortError("case 0 is broken")
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(CohortError):
        list(workers.each(one_fails, range(4)))
    assert time.monotonic() - start < 30


@forks
def test_the_number_of_threads_that_is_asked_for_bounds_the_processes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert set(workers.each(lambda _: os.getpid(), range(4))) == {os.getpid()}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert len(set(workers.each(lambda _: (time.sleep(0.5), os.getpid())[1], range(6)))) == 3


@forks
def test_an_error_beside_large_results_does_not_hang():
    def large_or_broken(item):
        if item == 3:
            raise CohortError("case 3 is broken")
        return bytes(50_000_000)

    with pytest.raises(CohortError, match="case 3 is broken"):
        for found in workers.each(large_or_broken, range(12)):
            assert len(found) == 50_000_000


@forks
def test_a_worker_that_dies_is_told_and_does_not_hang():
    with pytest.raises(WorkerError, match="memory"):
        list(workers.each(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(2)))


@forks
def test_workers_end_with_the_process_that_started_them_and_its_locks_are_free(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    started = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_runs(pid) for pid in started):
        time.sleep(0.1)
    assert not any(_runs(pid) for pid in started)
    with locked(tmp_path / "lock", 0.0):
        pass


@forks
def test_a_worker_computes_on_one_thread_and_can_train_after_its_parent_has():
    import torch

    def trained(seed):
        torch.manual_seed(seed)
        weights = torch.zeros(64, 64, requires_grad=True)
        (torch.randn(512, 64) @ weights - torch.randn(512, 64)).square().mean().backward()
        return torch.get_num_threads(), float(weights.grad.sum())

    _, here = trained(0)
    found = list(workers.each(trained, range(2)))
    assert [threads for threads, _ in found] == [1, 1]
    assert found[0][1] == pytest.approx(here, rel=1e-4)


def test_work_beside_a_block_is_done_at_its_end_and_its_error_is_raised(tmp_path):
    with workers.beside(lambda: (tmp_path / "done").write_text("")):
        assert list(workers.each(lambda item: 2 * item, range(3))) == [0, 2, 4]
    assert (tmp_path / "done").exists()

    def fails():
        raise CohortError("no table")

    with pytest.raises(CohortError, match="no table"), workers.beside(fails):
        pass
    with pytest.raises(ZeroDivisionError), workers.beside(lambda: None):
        raise ZeroDivisionError


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
