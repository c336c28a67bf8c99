"""A real private training: the gradients that its optimiser sees are clipped by patient and noised as the card says."""

import dataclasses

import numpy as np
import pytest
import torch
from test_learned import DIFFUSION
from tiny_heads import store, trained
from torch.optim.optimizer import register_optimizer_step_pre_hook

from synthgate import cards
from synthgate.generators.learned.slices import Drawn, OfPatient
from synthgate.generators.private import Secret
from synthgate.params import Privacy

PRIVACY = Privacy(epsilon=8.0, delta=0.01, clip=1e-4, patients=6)
"""All six training patients are in every step, and the norm is one that any gradient exceeds."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def seen(made, tmp_path, monkeypatch):
    """Train while some are silent (a gradient that is not finite is left out): gradients [step, weight], card."""
    monkeypatch.setattr(Secret, "kept", lambda path: Secret(b"a key that is known, for tests"))
    shown = OfPatient.__call__

    def train(name, silent=lambda patient: False):
        def some(self, patient, rng):
            drawn = shown(self, patient, rng)
            return Drawn(drawn[0] * torch.nan, *drawn[1:]) if silent(patient) else drawn

        monkeypatch.setattr(OfPatient, "__call__", some)
        gradients = []

        def look(optimiser, *_):
            parts = [p.grad.flatten().double() for group in optimiser.param_groups for p in group["params"]]
            gradients.append(torch.cat(parts).numpy())

        hook = register_optimizer_step_pre_hook(look)
        try:
            folder = trained(tmp_path / name, made, dataclasses.replace(DIFFUSION, privacy=PRIVACY))
        finally:
            hook.remove()
        return np.array(gradients), cards.read(folder).facts["privacy"]

    return train


@pytest.mark.parametrize("patient", ["patient0", "patient3"])
def test_a_patient_moves_a_step_of_a_training_by_the_clip_norm(seen, patient):
    whole, _ = seen("whole")
    without, _ = seen("without", lambda one: one == patient)
    moved = np.linalg.norm(whole[0] - without[0])
    assert moved == pytest.approx(PRIVACY.clip / PRIVACY.patients, rel=1e-3)


def test_every_step_of_a_training_has_the_noise_that_its_card_tells(seen):
    noise, facts = seen("noise", lambda one: True)
    assert len(noise) == facts["steps"] == DIFFUSION.fitting.steps
    deviation = facts["noise_multiplier"] * facts["clip"] / PRIVACY.patients
    size = noise.shape[1]
    assert noise.std(axis=1) == pytest.approx(np.full(len(noise), deviation), rel=5 / np.sqrt(2 * size))
    assert abs(noise.mean(axis=1)).max() < 5 * deviation / np.sqrt(size)
    assert abs(np.corrcoef(noise) - np.eye(len(noise))).max() < 5 / np.sqrt(size)
