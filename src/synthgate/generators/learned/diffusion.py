"""Mask-conditional diffusion: a rectified flow (Liu et al. 2022, 2209.03003) by default, DDPM and DDIM to compare.

The network is the same for all, and always tells the clean image: in few channels there is no room for noise, which a
velocity is full of (Li and He 2025, 2511.13720). What is fitted is the velocity of the straight path that follows from
it, or for DDPM (2006.11239) and DDIM (2010.02502) the image, weighted as 2303.09556 does. Schedules are MONAI's.
"""

from collections.abc import Callable

import numpy as np
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, RFlowScheduler
from torch import Tensor, nn

from synthgate.generators.learned.slices import Drawn
from synthgate.params import Diffusion

TIMES = 1000
"""Of the rectified flow, whose time is continuous."""
NOISINGS = 250
"""Steps of the noising that DDPM and DDIM learn to undo, as Med-DDPM's (2305.18453)."""

SOONEST = 0.2
"""Share of noise below which the velocity's error is weighted no more: it would go to infinity, and a sampler of ten
steps asks only once below it."""
MOST_SNR = 5.0
"""Where the weight of DDPM's error stops to grow with the signal-to-noise ratio (2303.09556)."""

Noise = Callable[[], Tensor]


def masked(error: Tensor, condition: Tensor) -> Tensor:
    """Mean over items [item, channel, *space] of each one's mean where it paints: in the condition's last plane."""
    where, all_but_item = condition[:, -1:], tuple(range(1, error.ndim))
    inside = (error * where).sum(all_but_item) / (where.sum(all_but_item).clamp_min(1) * error.shape[1])
    return inside.mean()


def _schedule(params: Diffusion) -> RFlowScheduler | DDPMScheduler | DDIMScheduler:
    if params.flow == "rectified":
        return RFlowScheduler(num_train_timesteps=TIMES, use_discrete_timesteps=False)
    kind = DDPMScheduler if params.flow == "ddpm" else DDIMScheduler
    # the usual range of 1000 steps, in fewer; residuals are of unit spread, not within -1..1
    faster = TIMES / NOISINGS
    return kind(
        num_train_timesteps=NOISINGS, schedule="linear_beta", beta_start=1e-4 * faster, beta_end=2e-2 * faster,
        clip_sample=False, prediction_type="sample",
    )  # fmt: skip


def loss(network: nn.Module, batch: Drawn, params: Diffusion) -> Tensor:
    """The training loss of a batch: squared error where it paints, of velocity (rectified) or of the image."""
    schedule, chance = _schedule(params), batch.uniform[:, 0]
    if params.flow == "rectified":
        # more often in the middle, where it is hardest (Esser et al. 2024, 2403.03206: logit-normal)
        time = torch.sigmoid(torch.special.ndtri(chance.clamp(1e-4, 1 - 1e-4))) * TIMES
        weight = (time / TIMES).clamp_min(SOONEST) ** -2
    else:
        time = (chance * NOISINGS).long().clamp_max(NOISINGS - 1)
        total = schedule.alphas_cumprod.to(time.device)[time]
        weight = (total / (1 - total)).clamp_max(MOST_SNR)
    noisy = schedule.add_noise(batch.residual, batch.noise, time)
    scaled = time.float() * (TIMES / schedule.num_train_timesteps)
    error = (network(noisy, batch.condition, scaled, batch.group) - batch.residual).square()
    return masked(error * weight.view(-1, *[1] * (error.ndim - 1)), batch.condition)


@torch.inference_mode()
def sample(network: nn.Module, condition: Tensor, group: Tensor, params: Diffusion, noise: Noise) -> Tensor:
    """Residuals [item, channel, *space] of unit spread; `noise()` draws one more noise of that shape."""
    schedule = _schedule(params)
    schedule.set_timesteps(params.steps)
    image = noise()
    times = schedule.timesteps
    later = torch.cat([times[1:], torch.zeros(1, dtype=times.dtype)])
    for time, following in zip(times, later, strict=True):
        scaled = torch.full((len(image),), float(time) * (TIMES / schedule.num_train_timesteps), device=image.device)
        told = network(image, condition, scaled, group)
        if params.guidance != 1 and bool(group.any()):
            untold = network(image, condition, scaled, torch.zeros_like(group))
            told = untold + params.guidance * (told - untold)
        if params.flow == "rectified":
            image, _ = schedule.step((told - image) / (float(time) / TIMES), time, image, following)
        elif params.flow == "ddim":
            image, _ = schedule.step(told, int(time), image)
        elif isinstance(schedule, DDPMScheduler):
            image = _ddpm(schedule, told, int(time), image, noise)
    return image


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
