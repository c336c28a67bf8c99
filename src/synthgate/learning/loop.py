"""A training that can be killed at any moment: Lightning, with a scratch checkpoint every so many steps.

An epoch is so many steps. Its batches depend on the step only, and the checkpoint holds the module, optimisers,
schedules and curve, so a resumed training equals an uninterrupted one to the bit (same machine and thread count).
"""

import csv
import functools
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from synthgate.files import replacing

Curve = list[tuple[int, float]]
"""(step, mean loss since the last entry)"""


class _Steps(Dataset[Any]):
    """The batches of steps start … stop - 1."""

    def __init__(self, batch: Callable[[int], Any], start: int, stop: int) -> None:
        self.batch, self.start, self.stop = batch, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Any:
        return self.batch(self.start + index)


class _Batches(LightningDataModule):
    """Serves each epoch its own run of steps; asked anew at every epoch."""

    def __init__(self, batch: Callable[[int], Any], steps: int, every: int) -> None:
        super().__init__()
        self.batch, self.steps, self.every = batch, steps, every

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        start = self.trainer.current_epoch * self.every
        batch: Callable[..., Any] = self.batch
        ranks = self.trainer.world_size
        if ranks > 1:
            batch = functools.partial(batch, rank=self.trainer.global_rank, ranks=ranks)
        return DataLoader(_Steps(batch, start, min(start + self.every, self.steps)), batch_size=None, num_workers=0)


class _Keeper(Callback):
    """Writes the checkpoint whole or not at all, keeps the loss curve in it, and tells the rate."""

    def __init__(self, path: Path, steps: int, every: int, what: str, images: int) -> None:
        self.path, self.steps, self.every, self.what, self.images = path, steps, every, what, images
        self.curve: Curve = []
        self._losses: list[float] = []
        self._since = (time.monotonic(), 0)

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curve = [(int(step), float(loss)) for step, loss in state["curve"]]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._since = (time.monotonic(), trainer.current_epoch * self.every)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any) -> None:
        self._losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        step = min((trainer.current_epoch + 1) * self.every, self.steps)
        mean = sum(self._losses) / len(self._losses)
        if trainer.world_size > 1:
            mean = float(trainer.strategy.reduce(torch.tensor(mean, device=module.device), reduce_op="mean"))
        self.curve.append((step, mean))
        self._losses = []
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path, weights_only=False)  # all take part, the first one writes
            return
        with replacing(self.path) as beside:
            trainer.save_checkpoint(beside, weights_only=False)
        rate = (step - self._since[1]) / max(time.monotonic() - self._since[0], 1e-9)
        left = (self.steps - step) / max(rate, 1e-9)
        line = f"{self.what}: {step}/{self.steps} steps, {rate:.2f} steps/s, {rate * self.images:.0f} images/s"
        print(f"{line}, {left:.0f} s left, loss {self.curve[-1][1]:.4f}", file=sys.stderr, flush=True)


def fit(
    module: LightningModule,
    batch: Callable[[int], Any],
    steps: int,
    every: int,
    checkpoint: Path,
    what: str,
    images: int,
    *,
    callbacks: Sequence[Callback] = (),
    **trainer: Any,
) -> Curve:
    """Train a module on `batch(0)` … `batch(steps - 1)`, resuming from `checkpoint` where an earlier run left one.

    An epoch is `every` steps; `what` names the training and `images` counts a batch in the progress lines. The training
    step returns its loss as `{"loss": …}` or a tensor. On several devices `batch(step, rank=…, ranks=…)` gives each its
    part of the step's batch. Returns the loss curve.
    """
    for name in ("pytorch.utilities.rank_zero", "pytorch.accelerators.cuda", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)  # devices and tips, at every training
    every = min(every, steps)
    given: dict[str, Any] = {"accelerator": "auto", "devices": 1} | trainer
    keeper = _Keeper(checkpoint, steps, every, what, images)
    with warnings.catch_warnings():
        # batches come ready-made from memory-mapped slices: worker processes would only copy them
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 under DDP asks torch in a way that torch is giving up
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        Trainer(
            **given,
            max_epochs=-(-steps // every),  # not max_steps: with it, Lightning 2.6 resumes inside the last epoch
            callbacks=[*callbacks, keeper],
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(
            module,
            datamodule=_Batches(batch, steps, every),
            ckpt_path=str(checkpoint) if checkpoint.is_file() else None,
            weights_only=True,
        )
    return keeper.curve


def write_curve(path: Path, curve: Curve) -> None:
    """Write a loss curve for `dvc plots`: columns step, loss."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows((step, f"{loss:.6f}") for step, loss in curve)
