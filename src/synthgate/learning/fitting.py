"""Training a segmenter: soft Dice over the batch plus cross-entropy per region, AdamW, one-cycle rate."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from synthgate.learning import weights
from synthgate.learning.loop import Curve, fit, write_curve
from synthgate.learning.sampler import Sampler
from synthgate.learning.segmenter import build
from synthgate.params import Segmenter
from synthgate.scratch import Scratch


class Training(LightningModule):
    """One segmenter's training: soft Dice over the batch plus cross-entropy per region, AdamW, one-cycle rate."""

    def __init__(self, network: nn.Module, params: Segmenter) -> None:
        super().__init__()
        self.network = network
        self.params = params
        self.dice = DiceLoss(sigmoid=True, batch=True)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of one batch ([sample, channel, *space], [sample, region, *space])."""
        image, target = batch
        logits = self.network(image)
        loss: Tensor = self.dice(logits, target) + functional.binary_cross_entropy_with_logits(logits, target)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises for a tenth of the steps and falls to zero."""
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=self.params.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.params.learning_rate, total_steps=self.params.steps, pct_start=0.1
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(sampler: Sampler, params: Segmenter, channels: int, checkpoint: Path, what: str) -> tuple[nn.Module, Curve]:
    """Train a segmenter for `params.steps`, resuming from `checkpoint` where an earlier run left one.

    `what` names it in the progress lines. Returns the network and its loss curve.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sampler.seed)
        module = Training(build(params, channels, len(sampler.regions)), params)
    curve = fit(module, sampler.batch, params.steps, params.checkpoint_every, checkpoint, what, params.batch)
    return module.network.eval(), curve


def trained(scratch: Scratch, name: str, sampler: Sampler, channels: int) -> Path:
    """Train in the scratch folder, or take what an earlier run finished: a folder of weights and `curve.csv`."""

    def make(folder: Path) -> None:
        folder.mkdir()
        network, curve = train(sampler, sampler.params, channels, checkpoint, name)
        weights.save(network, folder)
        write_curve(folder / "curve.csv", curve)

    checkpoint = scratch.path / f"{name}.ckpt"
    folder = scratch.once(name, make)
    checkpoint.unlink(missing_ok=True)
    return folder
