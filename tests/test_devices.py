"""Several devices: the parts of a batch, two real processes (gloo) against one, and cases shared among processes."""

import dataclasses
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_work
import torch
from safetensors.numpy import load_file
from test_learned import DIFFUSION, GAN
from tiny_heads import BATCH, TABLE, store, trained
from tiny_work import TWO

from synthgate import cards, workers
from synthgate.errors import ParamsError
from synthgate.files import digest
from synthgate.generators.learned.conditions import Conditions
from synthgate.generators.learned.slices import Batches, Slices
from synthgate.generators.sampling import synthesize
from synthgate.learning import devices
from synthgate.params import Compute
from synthgate.scratch import Scratch

SAME = 0.05
"""Largest difference of 99 % of diffusion's weights, as a share of how far training moved the median weight: processes
add float32 gradients in another order. The rest are those without a gradient, as biases before a normalisation: AdamW
divides their rounding errors by their size. A GAN's median weight hardly moves in so few steps."""
APART = 0.02
"""Of all weights together, as a share of how far training moved them; half of the batch is DIFFERENT apart or more."""
DIFFERENT = 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def two(made, tmp_path_factory):
    """Trained by two processes: row → folder, once each."""

    @functools.cache
    def of(kind):
        return trained(tmp_path_factory.mktemp(kind), made, {"diffusion": DIFFUSION, "gan": GAN}[kind], compute=TWO)

    return of


def weights(folder):
    found = load_file(folder / "model.safetensors")
    return np.concatenate([found[name].ravel() for name in sorted(found)]).astype(np.float64)


def fitted(row, **changed):
    return dataclasses.replace(row, fitting=dataclasses.replace(row.fitting, **changed))


@pytest.mark.parametrize("row", [DIFFUSION, GAN], ids=["diffusion", "gan"])
def test_two_processes_train_to_the_same_as_one_with_the_doubled_batch(made, two, row, tmp_path):
    one, both = trained(tmp_path / "one", made, row), two(row.kind)
    start = trained(tmp_path / "start", made, fitted(row, learning_rate=1e-12))
    apart, moved = (np.abs(weights(one) - weights(other)) for other in (both, start))
    assert 0 < np.linalg.norm(apart) < APART * np.linalg.norm(moved)  # to the bit would be one process, called two
    if row is DIFFUSION:
        assert np.quantile(apart, 0.99) < SAME * np.median(moved)
        half = trained(tmp_path / "half", made, fitted(row, batch=row.fitting.batch // 2))
        assert np.linalg.norm(weights(both) - weights(half)) > DIFFERENT * np.linalg.norm(moved)
    ours, theirs = (cards.read(folder).facts for folder in (one, both))
    assert theirs["stopped_at"] == ours["stopped_at"]
    assert theirs["checkpoint"] == pytest.approx(ours["checkpoint"], rel=0.01)
    for name in ("loss", "checkpoints"):
        tables = [
            np.loadtxt(folder.parent / f"reports/curves/{name}.csv", delimiter=",", skiprows=1)
            for folder in (one, both)
        ]
        np.testing.assert_allclose(*tables, rtol=0.01)


def test_two_processes_continue_from_what_is_in_scratch_and_leave_nothing_half_done(made, two):
    folder = two("diffusion")
    whole = digest(folder)
    assert not list(folder.parent.rglob(".half*"))
    [checkpoint] = folder.parent.rglob("training.ckpt")
    before = checkpoint.stat().st_mtime_ns
    assert digest(trained(folder.parent, made, DIFFUSION, compute=TWO)) == whole
    assert checkpoint.stat().st_mtime_ns == before


def test_the_parts_of_a_batch_are_the_batch(made):
    cases = made.select("train")
    maps = [made.label(case) for case in cases]
    conditions = Conditions.of((1, 2), ("site",), [case.attributes for case in cases])
    tables = [np.full((256, 4), 0.5, np.float32)] * len(cases)
    batches = Batches(Slices(made, cases, maps, tables, conditions, 0), 6)
    parts = [batches(5, rank, 3) for rank in range(3)]
    for whole, *some in zip(batches(5), *parts, strict=True):
        assert torch.equal(torch.stack(some, 1).flatten(0, 1), whole)


@pytest.mark.parametrize("compute", [TWO, Compute(num_nodes=2)], ids=["devices", "machines"])
def test_a_batch_that_cannot_be_shared_equally_is_refused_before_anything_is_made(made, compute, tmp_path):
    with pytest.raises(ParamsError, match=r"multiple of the 2 devices.*got 5.*params\.yaml"):
        trained(tmp_path, made, fitted(DIFFUSION, batch=5), compute=compute)
    assert not (tmp_path / "tiny").exists() and not list(tmp_path.rglob("*.npy"))


def test_machines_that_cannot_meet_are_told_what_is_missing(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ParamsError, match="lacks MASTER_ADDR, MASTER_PORT"):
        devices.node(Compute(num_nodes=2))
    assert devices.node(Compute()) == 0


def test_the_error_of_any_process_is_raised_and_ends_the_others():
    start = time.monotonic()
    with pytest.raises(Exception, match="what went wrong"):
        devices.on_each(tiny_work.failing, TWO)
    assert time.monotonic() - start < 300


def test_the_processes_end_with_the_one_that_started_them(tmp_path):
    started = subprocess.Popen([sys.executable, tiny_work.__file__, tmp_path])
    pids = [tmp_path / f"{rank}.pid" for rank in range(2)]
    until(lambda: all(pid.exists() for pid in pids))
    started.kill()
    started.wait()
    until(lambda: not any(running(int(pid.read_text())) for pid in pids))


def until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def running(pid):
    try:
        os.kill(pid, 0)
        # one that has ended is a zombie until somebody asks for it
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def sampled(folder, out, compute):
    with Scratch.opened("synthesize", {"of": out.name}, root=out.parent / "scratch") as scratch:
        synthesize(folder, out, BATCH, "b", scratch, splits=TABLE, inputs={}, compute=compute)


def test_two_processes_sample_the_same_bytes_as_one(two, tmp_path):
    folder = two("diffusion")
    for compute in (Compute(accelerator="cpu"), TWO):
        sampled(folder, tmp_path / f"batch-{compute.devices}", compute)
    assert digest(tmp_path / "batch-1") == digest(tmp_path / "batch-2")


def test_automatic_devices_of_a_cpu_are_this_process_and_its_workers(two, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "on_each", lambda *_: pytest.fail("shared among devices that are not there"))
    asked, each = [], workers.each
    monkeypatch.setattr(workers, "each", lambda *them: asked.append(them) or each(*them))
    sampled(two("diffusion"), tmp_path / "batch", Compute(accelerator="cpu", devices="auto"))
    assert len(asked) == 1


def test_one_that_follows_waits_for_the_pieces_of_another(tmp_path):
    with (
        Scratch.opened("x", {}, root=tmp_path) as leader,
        Scratch.opened("x", {}, root=tmp_path, follows=True) as other,
    ):
        made = leader.within("part").once("piece", lambda path: path.write_text("made"))
        assert other.within("part").once("piece", lambda path: pytest.fail("made twice")) == made
