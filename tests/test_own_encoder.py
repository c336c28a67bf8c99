"""A user's own encoder: weights by parameter, refused where they are not the ones that were named."""

import dataclasses

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet, ViT
from safetensors.torch import save_file
from tiny_measured import batch, changed, reference, trial

from synthgate.errors import ArtefactError, ParamsError
from synthgate.files import digest
from synthgate.gate import fidelity, samples
from synthgate.learning.own_encoder import OwnSpace
from synthgate.params import OwnEncoder


@pytest.fixture(scope="module", params=[2, 3])
def named(request, tmp_path_factory):
    arguments = {"spatial_dims": request.param, "in_channels": 2, "out_channels": 7, "features": [4] * 6}
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("own") / "weights.safetensors"
    save_file(BasicUNet(**arguments).state_dict(), path)
    return OwnEncoder("BasicUNet", arguments, str(path), digest(path))


def image(seed):
    out = np.zeros((2, 32, 32, 16), np.float32)
    out[:, 4:28, 4:28, 2:14] = np.random.default_rng(seed).uniform(0.1, 1, (2, 24, 24, 12))
    return out


def test_it_embeds_by_the_users_weights(named):
    space = OwnSpace(named, 2)
    one, other = space.embed(image(0)), space.embed(image(1))
    assert one.shape == (space.width,) == (7,) and np.isfinite(one).all() and not np.allclose(one, other)
    assert np.array_equal(one, OwnSpace(named, 2).embed(image(0)))
    assert np.isnan(space.embed(image(0) * 0)).all()


def test_other_weights_are_refused_with_both_digests(named):
    with pytest.raises(ArtefactError, match=f"expected .* with sha256 {'0' * 64}, found {named.sha256}"):
        OwnSpace(dataclasses.replace(named, sha256="0" * 64), 2)
    with pytest.raises(ArtefactError, match="is missing"):
        OwnSpace(dataclasses.replace(named, weights="nowhere.safetensors"), 2)
    with pytest.raises(ArtefactError, match="does not fit BasicUNet"):
        OwnSpace(named, 3)


@pytest.mark.parametrize("network", ["os", "NoSuchNetwork", "Optional"])
def test_what_is_no_network_is_refused(named, network):
    with pytest.raises(ParamsError, match=network):
        OwnSpace(dataclasses.replace(named, network=network), 2)


def test_it_is_one_more_space_of_fidelity():
    rng = np.random.default_rng(0)
    real, ours = reference(), batch(20)
    with_own = [changed(t, own=(own := rng.normal(size=(len(t), 6))), mild_own=own + 0.02) for t in (ours, real)]
    moved = changed(with_own[0], own=with_own[0].own + 2)
    found = {f.name: f.outcome for f in fidelity.judge(trial(moved, with_own[1]))}
    assert found["energy_own"] == "failed" and found["energy_radiomics"] == "passed"
    assert "own" not in samples.spaces(ours)


def test_tokens_are_averaged_and_a_network_of_one_size_is_tried_at_it(tmp_path):
    arguments = {"in_channels": 2, "img_size": [32, 48], "patch_size": 16, "hidden_size": 24, "mlp_dim": 32,
                 "num_layers": 1, "num_heads": 2, "spatial_dims": 2}  # fmt: skip
    torch.manual_seed(0)
    path = tmp_path / "vit.safetensors"
    save_file(ViT(**arguments).state_dict(), path)
    params = OwnEncoder("ViT", arguments, str(path), digest(path))
    space = OwnSpace(params, 2, (32, 48))
    picture = np.zeros((2, 32, 48, 16), np.float32)
    picture[:, 4:28, 4:44, 2:14] = np.random.default_rng(0).uniform(0.1, 1, (2, 24, 40, 12))
    assert space.width == 24 and np.isfinite(space.embed(picture)).all()
    with pytest.raises(ArtefactError, match="does not fit ViT"):
        OwnSpace(params, 2, (64, 64))
