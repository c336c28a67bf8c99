"""3D latent diffusion, end to end at toy size; windows, pooling and the autoencoder by themselves."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from test_learned import DIFFUSION, FITTING
from tiny_heads import store, trained

from synthgate import cards, params
from synthgate.errors import ArtefactError
from synthgate.files import digest
from synthgate.generators.generator import load
from synthgate.generators.learned import diffusion
from synthgate.generators.learned import latent as latents
from synthgate.generators.learned.conditions import Conditions
from synthgate.generators.learned.latent import Autoencoder, pooled
from synthgate.generators.learned.painter import build
from synthgate.generators.learned.slices import Drawn
from synthgate.generators.learned.volumes import Window
from synthgate.params import Latent, Privacy

ROOT = Path(__file__).resolve().parent.parent
LATENT = Latent(
    size=(32, 32, 8), features=(8, 8), channels=3, steps=4, batch=2, learning_rate=3e-3, kl=1e-4, checkpoint_every=2
)
ROW = dataclasses.replace(
    DIFFUSION, latent=LATENT, features=(8, 8, 16), patch=2, fitting=dataclasses.replace(FITTING, batch=3, judged=8)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made, ROW)


def larger(anatomy):
    """The same head in a volume of other sides, longer than what was trained on."""

    def stretched(volume):
        longer = np.repeat(volume, 2, axis=-1)[..., 2:, :, :-3]
        return np.pad(longer, [(0, 0)] * (volume.ndim - 3) + [(0, 1), (3, 0), (1, 0)])

    return dataclasses.replace(anatomy, map=stretched(anatomy.map), shares=stretched(anatomy.shares))


@pytest.mark.parametrize("shaped", [lambda anatomy: anatomy, larger], ids=["as trained", "larger"])
def test_a_sample_is_an_image_of_its_anatomy(folder, shaped):
    generator = load(folder)
    anatomy = shaped(generator.anatomies.anatomy(0, 1))
    images = [generator.sample([anatomy], [{"site": s}], np.random.default_rng(3))[0] for s in "AAB"]
    assert images[0].shape == (2, *anatomy.map.shape) and images[0].dtype == np.float32
    assert np.isfinite(images[0]).all() and images[0].min() >= 0 and (images[0][:, anatomy.map == 0] == 0).all()
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()


def test_the_flow_adds_to_the_mean_image_and_hears_noise_and_attributes(folder):
    painter = load(folder).painter
    codes = load(folder).anatomies.anatomy(0, 1).map
    table = painter.styles.mixed({"site": "A"}, np.random.default_rng(0))
    condition = painter.conditions.planes(np.moveaxis(codes, 2, 0), table)
    first, again, other, group = (
        painter.brush(condition, one, np.random.default_rng(seed)) for one, seed in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert first.shape == (8, 2, 32, 32) and first.std() > 0
    assert np.array_equal(first, again) and not np.allclose(first, other) and not np.allclose(first, group)


def test_what_is_written(folder):
    facts = cards.read(folder).facts
    assert 0 < facts["autoencoder_error"] < 5 and facts["checkpoint"]["step"] in (2, 4)
    curves = folder.parent / "reports/curves"
    assert len((curves / "autoencoder.csv").read_text().splitlines()) == 3
    assert sorted(path.name for path in curves.iterdir()) == ["autoencoder.csv", "checkpoints.csv", "loss.csv"]
    assert (folder.parent / "reports/samples/step-000004.png").is_file()


def test_an_autoencoder_that_is_missing_is_named(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != latents.NAME:
            (copy / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ArtefactError, match=latents.NAME):
        load(copy)


@pytest.mark.parametrize("killed", ["autoencoder", "encoding", "flow"])
def test_a_resumed_training_equals_an_uninterrupted_one(made, folder, killed, tmp_path, monkeypatch):
    from synthgate.generators.learned import coding, teaching

    module, name, last = {
        "autoencoder": (coding, "loss", 4), "encoding": (coding, "_encode", 5), "flow": (teaching, "judge", 2)
    }[killed]  # fmt: skip
    right, calls = getattr(module, name), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == last:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setattr(module, name, failing)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path, made, ROW)
    monkeypatch.setattr(module, name, right)
    assert digest(trained(tmp_path, made, ROW)) == digest(folder)


def test_the_autoencoder_learns_to_reconstruct(made, folder, tmp_path):
    longer = dataclasses.replace(ROW, latent=dataclasses.replace(LATENT, steps=60, checkpoint_every=60))
    better = cards.read(trained(tmp_path, made, longer)).facts["autoencoder_error"]
    assert better < 0.9 * cards.read(folder).facts["autoencoder_error"]


def test_a_window_is_around_the_head_and_goes_back():
    rng = np.random.default_rng(0)
    volume = np.zeros((2, 9, 20, 7), np.float32)
    volume[:, 2:7, 3:15, 1:6] = rng.random((2, 5, 12, 5))
    window = Window.over(volume[0] > 0, (8, 8, 8), (4, 4, 4))
    part = window.cut(volume)
    assert part.shape == (2, 8, 12, 8) and np.array_equal(window.back(part, volume.shape[1:]), volume)
    small = Window.around(volume[0] > 0, (4, 4, 4))
    assert np.array_equal(small.cut(volume), volume[:, 2:6, 7:11, 1:5])


def test_a_condition_is_averaged_over_the_voxels_of_a_cell():
    latent = dataclasses.replace(LATENT, features=(8, 8, 8), size=(32, 32, 16))
    planes = np.random.default_rng(0).random((1, 3, 16, 32, 8), np.float32)
    planes[:, -1, :8] = 0
    found = pooled(torch.from_numpy(planes), latent, 2).numpy()
    cells = planes.reshape(1, 3, 2, 8, 4, 8, 2, 4).mean((3, 5, 7))
    np.testing.assert_allclose(found[:, :-1], cells[:, :-1], rtol=1e-5)
    np.testing.assert_allclose(found[:, -1], np.maximum(cells[:, -1], latents.OUTSIDE), rtol=1e-5)


@pytest.mark.parametrize("flow", ["rectified", "ddpm", "ddim"])
def test_every_flow_learns_and_samples_in_three_dimensions(flow):
    row = dataclasses.replace(ROW, flow=flow)
    conditions = Conditions.of([1, 16, 17], ("site",), [{"site": "A"}])
    network = build(row, 2, conditions)
    rng = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 2, 3, 8, 8, 4, generator=rng)
    condition = torch.rand(2, conditions.channels(2), 8, 8, 4, generator=rng)
    batch = Drawn(latent, condition, torch.tensor([0, 1]), noise, torch.tensor([[0.3], [0.7]]))
    assert 0 < float(diffusion.loss(network, batch, row).detach()) < 1e4
    draws = np.random.default_rng(0)
    made = diffusion.sample(network, condition, batch.group, row, lambda: diffusion.plain(draws, condition, 3))
    assert made.shape == latent.shape and bool(made.isfinite().all())


def test_an_error_counts_by_the_weight_of_its_place():
    error, head = np.random.default_rng(0).random((2, 3, 4, 4, 2)), np.random.default_rng(1).random((2, 1, 4, 4, 2))
    found = float(diffusion.masked(torch.from_numpy(error), torch.from_numpy(head)))
    assert found == pytest.approx(
        np.mean([np.average(e, weights=np.broadcast_to(h, e.shape)) for e, h in zip(error, head, strict=True)])
    )


def test_latents_are_as_much_smaller_as_the_parameters_say():
    autoencoder = Autoencoder(2, LATENT, 2)
    mean, spread = autoencoder.encode(torch.zeros(1, 2, 32, 16, 8))
    assert mean.shape == spread.shape == (1, 3, 8, 4, 4)
    assert autoencoder.decode(mean).shape == (1, 2, 32, 16, 8)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"latent": dataclasses.replace(LATENT, size=(32, 32, 12))}, r"multiples of \[16, 16, 8\].*got \[32, 32, 12\]"),
        ({"privacy": Privacy(8.0, 0.001, 1.0, 2)}, "not private"),
    ],
)
def test_rows_that_cannot_be_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        dataclasses.replace(ROW, **wrong)


def test_the_documented_row_parses():
    (block,) = re.findall(r"```yaml\n(generators:\n  latent:\n.*?)```", (ROOT / "docs/generators.md").read_text(), re.S)
    plain = yaml.safe_load((ROOT / "params.yaml").read_text())
    plain["generators"] |= yaml.safe_load(block)["generators"]
    row = params.parse(plain).generators["latent"]
    assert row.latent.size == (128, 128, 128) and row.multiples == (16, 16, 16)


@pytest.mark.parametrize("features", [(8,), (8, 12)])
def test_the_autoencoder_has_two_levels_of_whole_groups(features):
    with pytest.raises(ValueError, match="two multiples of 8"):
        dataclasses.replace(LATENT, features=features)
