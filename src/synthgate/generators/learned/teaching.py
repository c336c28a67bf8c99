"""Training a learned painter: its loss and average, and the checkpoint that is kept."""

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from synthgate.files import remove, replacing
from synthgate.generators.learned import adversarial, diffusion, networks
from synthgate.generators.learned.conditions import Conditions
from synthgate.generators.learned.criterion import Judged, Shown, judge
from synthgate.generators.learned.exams import Exam
from synthgate.generators.learned.painter import build
from synthgate.generators.learned.slices import Batches, Drawn
from synthgate.learning import devices, loop, weights
from synthgate.params import Compute, Diffusion, Gan, Learned
from synthgate.scratch import Scratch

GRID = 4
"""Slices in a grid of samples."""
LEAST = 1e-6
"""AdamW's epsilon for a GAN. Its gradients are not averaged (beta 0): with the usual 1e-8 a tiny one makes a whole
step, in the direction of a rounding error too, and devices part sooner."""


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights, quicker in the first steps."""

    def mixed(average: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average + (1 - kept) * (now - average)

    return AveragedModel(network, avg_fn=mixed)


class Teaching(LightningModule):
    """One painter's training: AdamW, a short warm-up, then a cosine to zero; hinge GAN or diffusion."""

    def __init__(self, network: nn.Module, critic: nn.Module | None, params: Learned) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.critic, self.params = network, critic, params
        self.average = average_of(network, params.fitting.ema)
        self.average.requires_grad_(False)

    def configure_optimizers(self) -> Any:
        """The network's, then the critic's where there is one; both rates follow the same course."""
        fitting, params = self.params.fitting, self.params
        rated, betas, least = [(self.network, fitting.learning_rate)], (0.9, 0.99), 1e-8
        if self.critic is not None and isinstance(params, Gan):
            rated, betas, least = [*rated, (self.critic, params.critic_rate)], (0.0, 0.99), LEAST
        optimisers = [
            torch.optim.AdamW(one.parameters(), lr=rate, betas=betas, eps=least, weight_decay=1e-4)
            for one, rate in rated
        ]
        warm = max(1, min(100, fitting.steps // 20))

        def course(step: int) -> float:
            return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(step / fitting.steps, 1))))

        return optimisers, [torch.optim.lr_scheduler.LambdaLR(one, course) for one in optimisers]

    def training_step(self, batch: Drawn, _: int) -> dict[str, Tensor]:
        """One optimiser step of each network on a batch; tells the loss of the painter."""
        schedulers = self.lr_schedulers()
        loss = self._learn(batch)
        for one in schedulers if isinstance(schedulers, list) else [schedulers]:
            one.step()  # type: ignore[union-attr]
        self.average.update_parameters(self.network)
        return {"loss": loss.detach()}

    def _step(self, optimiser: Any, loss: Tensor) -> None:
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()

    def _learn(self, batch: Drawn) -> Tensor:
        if isinstance(self.params, Gan):
            return self._adversarial(batch, self.params)
        assert isinstance(self.params, Diffusion)
        loss = diffusion.loss(self.network, batch, self.params)
        self._step(self.optimizers(), loss)
        return loss

    def _adversarial(self, batch: Drawn, params: Gan) -> Tensor:
        assert self.critic is not None
        ours, theirs = self.optimizers()  # type: ignore[attr-defined]
        made = adversarial.draw(self.network, batch.noise, batch.condition, batch.group)
        real_seen = adversarial.judged(self.critic, batch.residual, batch)
        made_seen = adversarial.judged(self.critic, made.detach(), batch)
        self._step(theirs, adversarial.critic_loss(real_seen, made_seen))
        with torch.no_grad():
            real_seen = adversarial.judged(self.critic, batch.residual, batch)
        loss = adversarial.drawing_loss(real_seen, adversarial.judged(self.critic, made, batch), params.matching)
        self._step(ours, loss)
        return loss


class Chooser(Callback):
    """At every checkpoint judges what the averaged weights paint; keeps the best, and stops one that memorises."""

    def __init__(self, learned: Exam, unseen: Exam, params: Learned, folder: Path, what: str) -> None:
        self.learned, self.unseen = learned, unseen
        self.params, self.folder, self.what = params, folder, what
        self.samples = folder / "samples"
        self.history: list[Judged] = []
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training has to know."""
        return {"history": [one.row() for one in self.history]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where it was left."""
        self.history = [Judged(**row) for row in state["history"]]

    @property
    def best(self) -> Judged:
        """The checkpoint of the smallest kernel distance among those that do not memorise; else the first one."""
        sound = [one for one in self.history if not self._memorises(one)] or self.history[:1]
        return min(sound, key=lambda one: (math.isnan(one.kernel_distance), one.kernel_distance))

    def _memorises(self, one: Judged) -> bool:
        return one.memorises(self.params.fitting.memorised)

    def kept(self, step: int) -> Path:
        """Where the weights of a step's average are."""
        return self.folder / f"average-{step}"

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Judge, keep, and perhaps stop; on the first device alone."""
        assert isinstance(module, Teaching)
        fitting = self.params.fitting
        step = min((trainer.current_epoch + 1) * fitting.checkpoint_every, fitting.steps)
        if trainer.is_global_zero:
            network = module.average.module.eval()
            shown = [part.shown(network, self.params) for part in (self.learned, self.unseen)]
            network.train()
            self._draw(step, shown[1])
            self.history.append(judge(step, *shown))
            if self.best.step == step:
                with replacing(self.kept(step)) as beside:
                    beside.mkdir()
                    weights.save(network, beside)
            for one in self.history[:-1]:
                if one.step != self.best.step:
                    remove(self.kept(one.step))
            last = self.history[-1]
            print(f"{self.what}: kernel distance {last.kernel_distance:.4f}, 1-NN accuracy {last.one_nn_accuracy:.2f}, "
                  f"nearness {last.nearness:.2f}", file=sys.stderr, flush=True)  # fmt: skip
            self.stopped = self._memorises(last)
        trainer.should_stop = self.stopped = trainer.strategy.broadcast(self.stopped)
        if self.stopped and trainer.is_global_zero:
            print(f"{self.what}: stopped at step {step}: it memorises patients", file=sys.stderr, flush=True)

    def _draw(self, step: int, shown: Shown) -> None:
        """A grid of what was painted for unseen maps: a row for each slice, a column for each channel."""
        rows = np.linspace(0, len(shown.painted) - 1, GRID).round().astype(int)
        # what is around a painted region is a real patient's, and not for a report
        images = np.clip((shown.images(shown.painted) * shown.condition[:, -1:])[rows], 0, 1).transpose(0, 3, 1, 2)[
            :, ::-1
        ]
        wide = images.reshape(-1, images.shape[2] * images.shape[3])
        self.samples.mkdir(parents=True, exist_ok=True)
        with replacing(self.samples / f"step-{step:06d}.png") as beside:
            beside.write_bytes(imagecodecs.png_encode((255 * wide).astype(np.uint8)))


@dataclass(frozen=True)
class Taught:
    """What a training gives."""

    weights: Path
    """Folder with the chosen average."""
    history: Sequence[Judged]
    curve: loop.Curve
    """Empty where training was private: losses are not."""
    samples: Path
    """Folder of a grid of samples for every checkpoint."""
    facts: dict[str, Any]


def teach(
    batches: Batches, exams: tuple[Exam, Exam], channels: int, conditions: Conditions, params: Learned,
    scratch: Scratch, what: str, compute: Compute,
) -> Taught | None:  # fmt: skip
    """Train a painter of images of so many channels; choose its checkpoint by exams of learned and of unseen patients.

    Resumes what an earlier run left in scratch. None on a machine that only helps another one (`devices.node`).
    """
    taught: Taught | None = devices.on_each(
        _teach, compute, batches, exams, channels, conditions, params, scratch.path, what, compute
    )
    return taught


def _teach(
    rank: int, batches: Batches, exams: tuple[Exam, Exam], channels: int, conditions: Conditions, params: Learned,
    folder: Path, what: str, compute: Compute,
) -> Taught | None:  # fmt: skip
    """The part of one device in it; the first of all has the result."""
    fitting = params.fitting
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        module = module_of(params, channels, conditions)
    chooser = Chooser(*exams, params, folder, what)
    strategy: Any = "auto"
    if devices.ranks(compute) > 1:
        # the GAN's two losses each leave one network out
        strategy = DDPStrategy(
            cluster_environment=LightningEnvironment(), find_unused_parameters=isinstance(params, Gan)
        )
    curve = loop.fit(
        module, batches, fitting.steps, fitting.checkpoint_every, folder / "training.ckpt", what, fitting.batch,
        callbacks=[chooser], precision=fitting.precision, accelerator=compute.accelerator,
        devices=devices.count(compute), num_nodes=compute.num_nodes, strategy=strategy,
    )  # fmt: skip
    if rank:
        return None
    facts = {"memorised": chooser.stopped, "stopped_at": chooser.history[-1].step, "checkpoint": _told(chooser.best)}
    return Taught(chooser.kept(chooser.best.step), chooser.history, curve, chooser.samples, facts)


def _told(judged: Judged) -> dict[str, float | None]:
    """What JSON can hold: no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in judged.row().items()}


def module_of(params: Learned, channels: int, conditions: Conditions) -> Teaching:
    """The training of a row of `generators`, from fresh weights; a GAN's with its critic."""
    critic = None
    if isinstance(params, Gan):
        inputs = channels + conditions.channels(channels)
        critic = networks.critic(inputs, params.critic_features, params.critic_levels)
    return Teaching(network_of(params, channels, conditions), critic, params)


def network_of(params: Learned, channels: int, conditions: Conditions) -> nn.Module:
    """A row's network, from fresh weights, laid out and compiled as the row says."""
    network = build(params, channels, conditions)
    if params.fitting.compile:
        network.compile()
    return network


def write_history(path: Path, history: Sequence[Judged]) -> None:
    """Write what was judged at every checkpoint, for `dvc plots`: one column for each number."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(Judged.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in one.row().items()} for one in history)
