import functools

import numpy as np
import pytest
import torch
from tiny_store import REGIONS, segmenter
from torch import nn

from synthgate.learning.fitting import Training, train
from synthgate.learning.sampler import Pool, Sampler
from synthgate.learning.scoring import score
from synthgate.learning.segmenter import build, predict
from synthgate.learning.weights import load, save

pytestmark = pytest.mark.usefixtures("one_thread")


def params_of(dims: int):
    return segmenter(dims, patch=(32, 32, 4)) if dims == 3 else segmenter()


def network(dims: int, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(params_of(dims), 2, 2).eval()


@pytest.mark.parametrize(("dims", "space"), [(2, (32, 48)), (3, (16, 16, 8))])
def test_it_gives_a_logit_per_region_and_voxel(dims, space):
    with torch.no_grad():
        assert network(dims)(torch.randn(3, 2, *space)).shape == (3, 2, *space)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("slices", [1, 5, 9])
def test_a_whole_volume_is_answered_whatever_its_depth(dims, slices):
    image = np.random.default_rng(0).random((2, 32, 32, slices), np.float32)
    made = network(dims).train()
    out = predict(made, image, params_of(dims))
    assert out.shape == (2, 32, 32, slices) and out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 1
    assert np.array_equal(out, predict(made, image, params_of(dims))), "predicting changes nothing"


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mirrored_patient_gets_the_mirrored_answer(dims):
    image = np.random.default_rng(1).random((2, 32, 32, 4), np.float32)
    made = network(dims)
    straight, mirrored = (predict(made, i, params_of(dims)) for i in (image, np.ascontiguousarray(image[:, ::-1])))
    assert np.allclose(mirrored[:, ::-1], straight, atol=1e-5)
    assert not np.allclose(mirrored, straight, atol=1e-3)


def test_in_2d_a_slice_is_answered_alike_alone_and_among_others():
    image = np.random.default_rng(2).random((2, 32, 32, 7), np.float32)
    whole = predict(network(2), image, segmenter(batch=3))
    for z in range(7):
        assert np.allclose(predict(network(2), image[..., z : z + 1], segmenter()), whole[..., z : z + 1], atol=1e-5)


def test_the_loss_falls_from_the_worst_answer_to_the_right_one():
    target = (torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.7).float()

    class Says(nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, _):
            return self.logits

    image = torch.zeros(2, 2, 32, 32)
    right, unsure, wrong = (
        float(Training(Says((2 * target - 1) * sign), segmenter()).training_step((image, target), 0))
        for sign in (20, 0, -20)
    )
    assert right == pytest.approx(0, abs=1e-3)
    assert right < unsure < wrong


def test_weights_survive_the_way_to_disk(tmp_path):
    made = network(2)
    save(made, tmp_path)
    again = load(network(2, seed=1), tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in made.state_dict().items())


@pytest.mark.usefixtures("one_thread")
def test_it_learns_the_bright_blob(tiny, tmp_path):
    params = segmenter(steps=60, batch=8, features=(8, 16, 16), checkpoint_every=30)
    sampler = Sampler([Pool(tiny, tiny.select("train"), 1.0)], REGIONS, params, 0)
    made, curve = train(sampler, params, 2, tmp_path / "a.ckpt", "blob")
    assert curve[-1][0] == 60 and curve[-1][1] < curve[0][1]
    answer = functools.partial(predict, made, params=params)
    for case in tiny.select("validation", "hold-out"):
        found = score(answer, tiny, case, REGIONS)
        assert list(found) == ["WT", "TC"]
        assert found["WT"].dice > 0.8 and found["WT"].false_voxels is None
