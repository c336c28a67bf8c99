"""Mask-conditional diffusion: a rectified flow (Liu et al. 2022, 2209.03003) by default, DDPM and DDIM to compare.

All go from a noise to an image through mixtures of both, and differ in how much of each there is at a time; here a
mixture is scaled to unit spread, cos(angle) image + sin(angle) noise. The network tells sin(angle) image - cos(angle)
noise, by which a mixture changes with its angle (Salimans and Ho 2022, 2202.00512; Lu and Song 2025, 2410.11081): with
nothing learned noise stays what it is, as strong as an image at every scale where its power falls as images' does
(Field 1987, doi:10.1364/JOSAA.4.002379). Schedules of DDPM and DDIM are MONAI's.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from synthgate.generators.learned.slices import Drawn
from synthgate.params import Diffusion

TIMES = 1000
"""The time that a network is told goes from 0, an image, to this, noise."""
NOISINGS = 250
"""Steps of the noising that DDPM and DDIM learn to undo, as Med-DDPM's (2305.18453)."""
FINEST = 0.3
"""Frequency in cycles per pixel above which noise has next to nothing: images have most of it at edges, which the
network is told of, and noise has it everywhere."""

Noise = Callable[[], Tensor]


def masked(error: Tensor, condition: Tensor) -> Tensor:
    """Mean over items [item, channel, *space] of each one's mean where it paints: in the condition's last plane."""
    where, all_but_item = condition[:, -1:], tuple(range(1, error.ndim))
    inside = (error * where).sum(all_but_item) / (where.sum(all_but_item).clamp_min(1) * error.shape[1])
    return inside.mean()


def _noised(params: Diffusion) -> DDPMScheduler | DDIMScheduler:
    """The noising of DDPM and DDIM."""
    kind = DDPMScheduler if params.flow == "ddpm" else DDIMScheduler
    # the usual range of 1000 steps, in fewer; residuals are of unit spread, not within -1..1
    faster = TIMES / NOISINGS
    return kind(
        num_train_timesteps=NOISINGS, schedule="linear_beta", beta_start=1e-4 * faster, beta_end=2e-2 * faster,
        clip_sample=False, prediction_type="sample",
    )  # fmt: skip


def reddened(white: Tensor) -> Tensor:
    """White noise [item, channel, *space] with as much power in every octave up to FINEST, still of unit spread."""
    sides = white.shape[2:]
    along = torch.meshgrid(*(torch.fft.fftfreq(side, device=white.device) for side in sides), indexing="ij")
    frequency = torch.stack(along).square().sum(0).sqrt()
    power = frequency.clamp_min(1 / max(sides)) ** -len(sides) * torch.exp(-((frequency / FINEST) ** 4))
    space = tuple(range(2, white.ndim))
    return torch.fft.ifftn(torch.fft.fftn(white, dim=space) * (power / power.mean()).sqrt(), dim=space).real


def _noise(white: Tensor, params: Diffusion) -> Tensor:
    """Residuals' is red, latents' is white."""
    return reddened(white) if params.latent is None else white


def loss(network: nn.Module, batch: Drawn, params: Diffusion) -> Tensor:
    """The training loss of a batch: squared error, where it paints, of what the network tells."""
    chance = batch.uniform[:, 0]
    if params.flow == "rectified":
        # more often in the middle, where it is hardest (Esser et al. 2024, 2403.03206: logit-normal)
        time = torch.sigmoid(torch.special.ndtri(chance.clamp(1e-4, 1 - 1e-4)))
        angle = torch.atan2(time, 1 - time)
    else:
        step = (chance * NOISINGS).long().clamp_max(NOISINGS - 1)
        time, angle = step / NOISINGS, _noised(params).alphas_cumprod.to(step.device)[step].sqrt().acos()
    image, noise = batch.residual, _noise(batch.noise, params)
    turn = angle.view(-1, *[1] * (image.ndim - 1))
    mixture, wished = turn.cos() * image + turn.sin() * noise, turn.sin() * image - turn.cos() * noise
    told = network(mixture, batch.condition, time * TIMES, batch.group)
    return masked((told - wished).square(), batch.condition)


@torch.inference_mode()
def sample(network: nn.Module, condition: Tensor, group: Tensor, params: Diffusion, noise: Noise) -> Tensor:
    """Residuals [item, channel, *space] of unit spread; `noise()` draws one more white noise of that shape."""

    def told(mixture: Tensor, time: float) -> Tensor:
        scaled = torch.full((len(mixture),), time * TIMES, device=mixture.device)
        found: Tensor = network(mixture, condition, scaled, group)
        if params.guidance != 1 and bool(group.any()):
            untold = network(mixture, condition, scaled, torch.zeros_like(group))
            found = untold + params.guidance * (found - untold)
        return found

    mixture = _noise(noise(), params)
    if params.flow == "rectified":
        for left in range(params.steps, 0, -1):
            here, there = (math.atan2(steps, params.steps - steps) for steps in (left, left - 1))
            mixture = mixture + (here - there) * told(mixture, left / params.steps)
        return mixture
    schedule = _noised(params)
    schedule.set_timesteps(params.steps)
    for time in map(int, schedule.timesteps):
        angle = float(schedule.alphas_cumprod[time].sqrt().acos())
        clean = math.cos(angle) * mixture + math.sin(angle) * told(mixture, time / NOISINGS)
        if isinstance(schedule, DDPMScheduler):
            mixture = _ddpm(schedule, clean, time, mixture, lambda: _noise(noise(), params))
        else:
            mixture, _ = schedule.step(clean, time, mixture)
    return mixture


def _ddpm(schedule: DDPMScheduler, told: Tensor, time: int, image: Tensor, noise: Noise) -> Tensor:
    """A step of ancestral sampling by MONAI's schedule, with our noise: its own knows no neighbouring slices."""
    total, before = schedule.alphas_cumprod[time], schedule.alphas_cumprod[time - 1] if time else torch.tensor(1.0)
    beta, alpha = schedule.betas[time], schedule.alphas[time]
    mean = before.sqrt() * beta / (1 - total) * told + alpha.sqrt() * (1 - before) / (1 - total) * image
    return mean + (beta * (1 - before) / (1 - total)).sqrt() * noise() if time else mean


def plain(rng: np.random.Generator, like: Tensor, channels: int) -> Tensor:
    """Plain noise for conditions [item, plane, *space], on their device."""
    drawn = rng.standard_normal((len(like), channels, *like.shape[2:]), np.float32)
    return torch.from_numpy(drawn).to(like.device)
