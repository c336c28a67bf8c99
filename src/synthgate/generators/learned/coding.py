"""Training the autoencoder of volumes, and encoding them once for the flow."""

import csv
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from safetensors.numpy import save_file
from torch import Tensor

from synthgate.errors import ParamsError
from synthgate.generators.learned import latent as latents
from synthgate.generators.learned.diffusion import masked
from synthgate.generators.learned.latent import Autoencoder, Space
from synthgate.generators.learned.slices import Batches, Drawn, Slices
from synthgate.generators.learned.volumes import Latents, Volumes
from synthgate.learning import devices, loop, weights
from synthgate.params import Compute, Diffusion
from synthgate.progress import tracked
from synthgate.scratch import Scratch


def loss(autoencoder: Autoencoder, batch: Drawn, kl: float) -> Tensor:
    """Mean absolute error within the head, and `kl` times the mean divergence of the latents from N(0, 1)."""
    made, mean, spread = autoencoder(batch.residual, batch.noise)
    divergence = 0.5 * (mean.square() + spread.square() - 1) - spread.log()
    return masked((made - batch.residual).abs(), batch.condition) + kl * divergence.mean()


class Coding(LightningModule):
    """The autoencoder's training: AdamW, one-cycle rate."""

    def __init__(self, autoencoder: Autoencoder, params: Diffusion) -> None:
        super().__init__()
        assert params.latent is not None
        self.autoencoder, self.latent = autoencoder, params.latent

    def training_step(self, batch: Drawn, _: int) -> Tensor:
        """The loss of one batch."""
        return loss(self.autoencoder, batch, self.latent.kl)

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises for a tenth of the steps and falls to zero."""
        rate = self.latent.learning_rate
        optimiser = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=self.latent.steps, pct_start=0.1)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class Coded:
    """A trained autoencoder, and the latents of the volumes it learned from."""

    space: Space
    weights: Path
    """Its file, in scratch."""
    curve: loop.Curve
    learned: Latents
    unseen: Volumes
    lost: float
    """Mean absolute error within the heads of unseen volumes, as a share of the mean absolute residual."""


def code(learned: Slices, unseen: Slices, params: Diffusion, scratch: Scratch, what: str, compute: Compute) -> Coded:
    """Train an autoencoder on the volumes of `learned`, then encode them; resumes what a killed run left in scratch.

    Raises ParamsError where more than one device is asked for.
    """
    if devices.ranks(compute) > 1:
        raise ParamsError(
            f"compute: a generator with a latent space trains on one device, got {devices.ranks(compute)}; set devices "
            f"and num_nodes to 1"
        )
    latent, patch = params.latent, params.patch
    assert latent is not None
    units = (patch * latent.shrinks, patch * latent.shrinks, latent.shrinks)
    shape = (latent.channels, *(side // unit for side, unit in zip(latent.size, units, strict=True)))
    ours, theirs = (Volumes(part, latent.size, shape) for part in (learned, unseen))
    autoencoder, folder = _trained(ours, params, scratch, what, compute.accelerator)
    if torch.cuda.is_available() and compute.accelerator != "cpu":
        autoencoder.cuda()  # Lightning has put it back on the CPU
    kept = scratch.within("latents")
    raw = Latents(ours, kept.path, lambda latent: latent)
    for number in tracked(ours.index(), len(ours.index()), f"{what}, latents", "volumes"):
        for mirrored in (False, True):
            encode = functools.partial(_encode, autoencoder, ours, number, mirrored, params)
            kept.once(raw.kept(number, mirrored).name, encode)
    space = Space(autoencoder, latent, *_measured(raw))
    with (folder / "curve.csv").open(encoding="utf-8") as stream:
        curve = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(stream)]
    return Coded(
        space, folder / latents.NAME, curve, replace(raw, scaled=space.scaled), theirs,
        lost(autoencoder, theirs),
    )  # fmt: skip


def _trained(
    volumes: Volumes, params: Diffusion, scratch: Scratch, what: str, accelerator: str
) -> tuple[Autoencoder, Path]:
    """The autoencoder, and the folder of its weights and `curve.csv`."""
    latent, fitting = params.latent, params.fitting
    assert latent is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        autoencoder = Autoencoder(volumes.slices.noise[0], latent, params.patch)
    if fitting.channels_last:
        autoencoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    checkpoint = scratch.path / "autoencoder.ckpt"

    def make(folder: Path) -> None:
        module = Coding(autoencoder, params)
        if fitting.compile:
            module.autoencoder.compile()
        curve = loop.fit(
            module, Batches(volumes, latent.batch), latent.steps, latent.checkpoint_every, checkpoint,
            f"{what}, autoencoder", latent.batch, precision=fitting.precision, accelerator=accelerator,
        )  # fmt: skip
        folder.mkdir()
        weights.save(autoencoder, folder, latents.NAME)
        loop.write_curve(folder / "curve.csv", curve)

    folder = scratch.once("autoencoder", make)
    checkpoint.unlink(missing_ok=True)
    weights.load(autoencoder, folder, latents.NAME)
    return autoencoder, folder


@torch.inference_mode()
def _encode(
    autoencoder: Autoencoder, volumes: Volumes, number: int, mirrored: bool, params: Diffusion,
    path: Path,
) -> None:  # fmt: skip
    """Write what `Latents.kept` tells."""
    assert params.latent is not None
    device = next(autoencoder.parameters()).device
    residual, condition, _ = volumes.take(np.array([number]), np.array([mirrored]))
    mean, _ = autoencoder.encode(torch.from_numpy(residual).to(device))
    told = latents.pooled(torch.from_numpy(condition), params.latent, params.patch)
    made = {"latent": mean[0].float().cpu().numpy(), "condition": told[0].numpy()}
    save_file({key: np.ascontiguousarray(value) for key, value in made.items()}, path)


def _measured(raw: Latents) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [channel] float32 of latents, within heads."""
    total = squares = weight = np.float64(0)
    for number in raw.index():
        for mirrored in (False, True):
            latent, condition, _ = raw.take(np.array([number]), np.array([mirrored]))
            head = condition[:, -1:].astype(np.float64)
            total = total + (latent * head).sum((0, 2, 3, 4))
            squares = squares + (latent**2 * head).sum((0, 2, 3, 4))
            weight = weight + head.sum()
    mean = total / weight
    spread = np.sqrt(np.maximum(squares / weight - mean**2, 1e-8))
    return np.asarray(mean, np.float32), np.asarray(spread, np.float32)


@torch.inference_mode()
def lost(autoencoder: Autoencoder, volumes: Volumes) -> float:
    """Mean absolute error within the heads of volumes, as a share of the mean absolute residual."""
    device = next(autoencoder.parameters()).device
    wrong = whole = 0.0
    for number in volumes.index():
        residual, condition, _ = (torch.from_numpy(part).to(device) for part in volumes.take(np.array([number])))
        made = autoencoder.decode(autoencoder.encode(residual)[0])
        wrong += float(((made - residual).abs() * condition[:, -1:]).sum())
        whole += float(residual.abs().sum())
    return wrong / max(whole, 1e-9)
