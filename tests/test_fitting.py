"""Training killed by SIGKILL in a real process and continued equals training that nobody disturbed."""

import csv
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_store import REGIONS, entries, make, segmenter

from synthgate.files import digest
from synthgate.learning import fitting
from synthgate.learning.sampler import Pool, Sampler
from synthgate.scratch import Scratch

pytestmark = pytest.mark.usefixtures("one_thread")
PEOPLE = {"ann": "train", "bob": "train"}
KILLED = """
import os, signal, sys
from pathlib import Path
import test_fitting as tests
dims, last = map(int, sys.argv[1:])
class Killed(tests.Sampler):
    def batch(self, step):
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(step)
tests.fit(Path("killed"), dims, Killed)
"""


def fit(folder: Path, dims: int, kind: type[Sampler] = Sampler) -> Path:
    """Seven steps, a checkpoint after every second, in a scratch folder under `folder`."""
    torch.set_num_threads(1)  # also where a fixture of the module calls; `one_thread` restores it
    store = make(folder, entries(PEOPLE))
    sampler = kind([Pool(store, store.cases, 1.0)], REGIONS, segmenter(dims, steps=7), 3)
    with Scratch.opened("train", {"dims": dims}, root=folder / "scratch") as scratch:
        return fitting.trained(scratch, "net", sampler, 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    before = torch.get_num_threads()
    yield {dims: fit(tmp_path_factory.mktemp(f"whole{dims}"), dims) for dims in (2, 3)}
    torch.set_num_threads(before)


@pytest.mark.parametrize(("dims", "last"), [(2, 5), (3, 4)])
def test_killed_and_continued_equals_uninterrupted(tmp_path, python, whole, dims, last):
    process = python(KILLED, str(dims), str(last))
    assert process.wait(120) == -signal.SIGKILL, process.stderr.read()
    scratch = tmp_path / "killed" / "scratch" / "train"
    assert list(scratch.rglob("net.ckpt")) and not list(scratch.rglob("model.safetensors"))

    steps = []

    class Watched(Sampler):
        def batch(self, step: int):
            steps.append(step)
            return super().batch(step)

    folder = fit(tmp_path / "killed", dims, Watched)
    assert steps == list(range(4, 7)), "it continues from the last checkpoint"
    expected, found = (load_file(path / "model.safetensors") for path in (whole[dims], folder))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert digest(folder) == digest(whole[dims])
    assert not list(scratch.rglob("*.ckpt"))


def test_the_curve_has_a_mean_loss_per_checkpoint(whole):
    rows = list(csv.DictReader((whole[2] / "curve.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 7]
    assert all(0 < float(row["loss"]) < 3 for row in rows)


def sampler_of(tiny, **changed):
    params = segmenter(**changed)
    return Sampler([Pool(tiny, tiny.select("train"), 1.0)], REGIONS, params, changed.get("seed", 0))


def test_killed_after_the_last_step_it_does_not_train_again(tiny, tmp_path):
    sampler = sampler_of(tiny)
    first, curve = fitting.train(sampler, sampler.params, 2, tmp_path / "a.ckpt", "first")
    sampler.batch = lambda step: pytest.fail("trained again")
    again, same = fitting.train(sampler, sampler.params, 2, tmp_path / "a.ckpt", "again")
    assert same == curve
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


def test_how_often_it_is_kept_does_not_change_what_is_learned(tiny, tmp_path):
    found = []
    for every in (1, 4, 100):
        sampler = sampler_of(tiny, checkpoint_every=every)
        network, curve = fitting.train(sampler, sampler.params, 2, tmp_path / f"{every}.ckpt", "every")
        assert len(curve) == -(-6 // every)
        found.append(network.state_dict())
    for other in found[1:]:
        assert all(torch.equal(value, other[name]) for name, value in found[0].items())


def test_every_step_is_trained_once_and_global_seeds_play_no_part(tiny, tmp_path):
    weights = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        sampler, steps = sampler_of(tiny), []
        batch = sampler.batch
        sampler.batch = lambda step, batch=batch, steps=steps: steps.append(step) or batch(step)
        network, _ = fitting.train(sampler, sampler.params, 2, tmp_path / f"{seed}.ckpt", "once")
        assert steps == list(range(6))
        weights.append(torch.cat([value.flatten().float() for value in network.state_dict().values()]))
    assert torch.equal(*weights)


def test_progress_is_told_with_total_and_rate(tiny, tmp_path, capsys):
    sampler = sampler_of(tiny)
    fitting.train(sampler, sampler.params, 2, tmp_path / "a.ckpt", "the judge")
    told = capsys.readouterr()
    assert not told.out
    assert "the judge: 6/6 steps" in told.err and "steps/s" in told.err
