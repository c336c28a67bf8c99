"""Training that can be killed at any moment: Lightning, with a scratch checkpoint every so many steps.

An epoch is `checkpoint_every` steps. Its batches depend on the step only, and the checkpoint holds network, optimiser,
schedule and curve, so a resumed training equals an uninterrupted one to the bit (same machine and thread count).
"""

import csv
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from synthgate.files import replacing
from synthgate.learning import weights
from synthgate.learning.sampler import Sampler
from synthgate.learning.segmenter import build
from synthgate.params import Segmenter
from synthgate.scratch import Scratch

Curve = list[tuple[int, float]]
"""(step, mean loss since the last entry)"""


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


class _Steps(Dataset[tuple[Tensor, Tensor]]):
    """The batches of steps start … stop - 1."""

    def __init__(self, sampler: Sampler, start: int, stop: int) -> None:
        self.sampler, self.start, self.stop = sampler, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.sampler.batch(self.start + index)


class _Batches(LightningDataModule):
    """Serves each epoch its own run of steps; asked anew at every epoch."""

    def __init__(self, sampler: Sampler, every: int) -> None:
        super().__init__()
        self.sampler, self.every = sampler, every

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        assert self.trainer is not None
        start = self.trainer.current_epoch * self.every
        steps = _Steps(self.sampler, start, min(start + self.every, self.sampler.params.steps))
        return DataLoader(steps, batch_size=None, num_workers=0)


class _Keeper(Callback):
    """Writes the checkpoint whole or not at all, keeps the loss curve in it, and tells the rate."""

    def __init__(self, path: Path, steps: int, what: str) -> None:
        self.path, self.steps, self.what = path, steps, what
        self.curve: Curve = []
        self._losses: list[float] = []
        self._since = (time.monotonic(), 0)

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curve = [(int(step), float(loss)) for step, loss in state["curve"]]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._since = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any) -> None:
        self._losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        self.curve.append((step, sum(self._losses) / len(self._losses)))
        self._losses = []
        with replacing(self.path) as beside:
            trainer.save_checkpoint(beside, weights_only=False)
        rate = (step - self._since[1]) / max(time.monotonic() - self._since[0], 1e-9)
        left = (self.steps - step) / max(rate, 1e-9)
        line = f"{self.what}: {step}/{self.steps} steps, {rate:.2f} steps/s, {left:.0f} s left"
        print(f"{line}, loss {self.curve[-1][1]:.4f}", file=sys.stderr, flush=True)


def train(sampler: Sampler, params: Segmenter, channels: int, checkpoint: Path, what: str) -> tuple[nn.Module, Curve]:
    """Train a segmenter for `params.steps`, resuming from `checkpoint` where an earlier run left one.

    `what` names it in the progress lines. Returns the network and its loss curve.
    """
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)  # devices and tips, at every training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sampler.seed)
        module = Training(build(params, channels, len(sampler.regions)), params)
    keeper = _Keeper(checkpoint, params.steps, what)
    every = min(params.checkpoint_every, params.steps)
    with warnings.catch_warnings():
        # batches come ready-made from memory-mapped slices: worker processes would only copy them
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=-(-params.steps // every),  # not max_steps: with it, Lightning 2.6 resumes inside the last epoch
            callbacks=[keeper],
            reload_dataloaders_every_n_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(
            module,
            datamodule=_Batches(sampler, every),
            ckpt_path=str(checkpoint) if checkpoint.is_file() else None,
            weights_only=True,
        )
    return module.network.eval(), keeper.curve


def write_curve(path: Path, curve: Curve) -> None:
    """Write a loss curve for `dvc plots`: columns step, loss."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows((step, f"{loss:.6f}") for step, loss in curve)


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
