"""Training a diffusion painter under differential privacy: every step, last weights, no losses (docs/private.md)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synthgate.errors import ParamsError
from synthgate.generators.learned import diffusion
from synthgate.generators.learned.slices import Drawn, OfPatient, Slices
from synthgate.generators.learned.teaching import Taught, Teaching, network_of
from synthgate.generators.private import Plan, Secret, planned, refuse_mixing
from synthgate.learning import devices, loop, weights
from synthgate.params import Compute, Diffusion, Privacy
from synthgate.scratch import Scratch


class Private(Teaching):
    """A diffusion painter's training under differential privacy: a step's batch is its number, and no loss is told."""

    def __init__(self, network: nn.Module, params: Diffusion, plan: Plan, secret: Secret, shown: OfPatient):
        super().__init__(network, None, params)
        self.plan, self.secret, self.shown = plan, secret, shown

    def _learn(self, batch: Any) -> Tensor:
        step, params = int(batch), self.params
        assert isinstance(params, Diffusion)

        def loss_of(patient: str) -> Tensor:
            drawn = self.shown(patient, self.secret.rng("slices", step, patient))
            return diffusion.loss(self.network, Drawn(*(part.to(self.device) for part in drawn)), params)

        self.plan.gradient(loss_of, self.network.parameters(), step, self.secret)
        self.optimizers().step()  # type: ignore[union-attr]
        return torch.zeros(())


def teach_privately(
    learned: Slices, params: Diffusion, privacy: Privacy, scratch: Scratch, what: str, compute: Compute
) -> Taught:
    """Train a diffusion painter with DP-SGD on all of `learned`: every step, and the last weights (docs/private.md).

    Raises ParamsError where the wished ε is out of reach, or more than one device is asked for.
    """
    if devices.ranks(compute) > 1:
        raise ParamsError(
            f"compute: private training uses one device, got {devices.ranks(compute)}; set devices and num_nodes to 1"
        )
    fitting = params.fitting
    shown = OfPatient(learned, max(1, fitting.batch // privacy.patients))
    plan = planned(privacy, shown.patients, fitting.steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        network = network_of(params, len(learned.store.channels), learned.conditions)
        refuse_mixing(network)
        key = scratch.path / "secret"
        module = Private(network, params, plan, Secret.kept(key), shown)
    checkpoint, out = scratch.path / "training.ckpt", scratch.path / "average"

    def make(folder: Path) -> None:
        loop.fit(
            module, torch.tensor, fitting.steps, fitting.checkpoint_every, checkpoint, what, fitting.batch,
            accelerator=compute.accelerator,
        )  # fmt: skip
        folder.mkdir()
        weights.save(module.average.module, folder)

    scratch.once(out.name, make)
    for left in (checkpoint, key):
        left.unlink(missing_ok=True)
    none = scratch.path / "samples"
    none.mkdir(exist_ok=True)
    return Taught(out, [], [], none, {"privacy": plan.facts(fitting.steps)})
