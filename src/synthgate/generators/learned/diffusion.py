"""Mask-conditional diffusion: a rectified flow (Liu et al. 2022, 2209.03003) by default, DDPM and DDIM to compare.

All go from a noise to an image through mixtures of both, and differ in how much of each there is at a time; here a
mixture is scaled to unit spread, cos(angle) image + sin(angle) noise. The network tells sin(angle) image - cos(angle)
noise, by which a mixture changes with its angle (Salimans and Ho 2022, 2202.00512; Lu and Song 2025, 2410.11081): with
nothing learned a rectified flow leaves noise as it is, as strong as an image at every scale where its power falls as
images' does (Field 1987, doi:10.1364/JOSAA.4.002379). The schedule of DDPM and DDIM is MONAI's.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from monai.networks.schedulers import DDPMScheduler
from torch import Tensor, nn

from synthgate.generators.learned.noise import reddened, seen
from synthgate.generators.learned.slices import Drawn
from synthgate.params import Diffusion

TIMES = 1000
"""The time that a network is told goes from 0, an image, to this, noise."""
NOISINGS = 250
"""Steps of the noising that DDPM and DDIM learn to undo, as Med-DDPM's (2305.18453)."""
SHIFT = 3.0
"""How far a rectified flow's times, drawn evenly in training, are moved towards noise, where what is large is decided
(Esser et al. 2024, 2403.03206, eq. 23, and their choice); drawn most in the middle, it paints with too little variety.
"""

Noise = Callable[[], Tensor]


def masked(error: Tensor, condition: Tensor) -> Tensor:
    """Mean over items [item, channel, *space] of each one's mean where it paints: in the condition's last plane."""
    where, all_but_item = condition[:, -1:], tuple(range(1, error.ndim))
    inside = (error * where).sum(all_but_item) / (where.sum(all_but_item).clamp_min(1) * error.shape[1])
    return inside.mean()


def _kept() -> Tensor:
    """[NOISINGS] squared share of the image after each noising, by MONAI's schedule."""
    # the usual range of 1000 steps, in fewer
    faster = TIMES / NOISINGS
    kept: Tensor = DDPMScheduler(
        num_train_timesteps=NOISINGS, schedule="linear_beta", beta_start=1e-4 * faster, beta_end=2e-2 * faster
    ).alphas_cumprod
    return kept


def _noise(white: Tensor, params: Diffusion) -> Tensor:
    """Residuals' is red, latents' is white."""
    return reddened(white) if params.latent is None else white


def loss(network: nn.Module, batch: Drawn, params: Diffusion) -> Tensor:
    """The training loss of a batch: squared error, where it paints, of what the network tells."""
    chance = batch.uniform[:, 0]
    if params.flow == "rectified":
        time = SHIFT * chance / (1 + (SHIFT - 1) * chance)
        angle = torch.atan2(time, 1 - time)
    else:
        step = (chance * NOISINGS).long().clamp_max(NOISINGS - 1)
        time, angle = step / NOISINGS, _kept().to(step.device)[step].sqrt().acos()
    image, noise = batch.residual, _noise(batch.noise, params)
    turn = angle.view(-1, *[1] * (image.ndim - 1))
    mixture, wished = turn.cos() * image + turn.sin() * noise, turn.sin() * image - turn.cos() * noise
    told = network(seen(mixture, batch.condition), batch.condition, time * TIMES, batch.group)
    return masked((told - wished).square(), batch.condition)


def _course(params: Diffusion) -> list[tuple[float, float]]:
    """Times in 0..1 and angles at which a sample asks the network, from noise to image."""
    if params.flow == "rectified":
        return [(left / params.steps, math.atan2(left, params.steps - left)) for left in range(params.steps, 0, -1)]
    asked = torch.linspace(NOISINGS - 1, 0, params.steps).round().int().tolist()
    return [(step / NOISINGS, math.acos(float(_kept()[step].sqrt()))) for step in asked]


@torch.inference_mode()
def sample(network: nn.Module, condition: Tensor, group: Tensor, params: Diffusion, noise: Noise) -> Tensor:
    """Residuals [item, channel, *space] of unit spread; `noise()` draws one more white noise of that shape."""

    def told(mixture: Tensor, time: float) -> Tensor:
        shown, scaled = seen(mixture, condition), torch.full((len(mixture),), time * TIMES, device=mixture.device)
        found: Tensor = network(shown, condition, scaled, group)
        if params.guidance != 1 and bool(group.any()):
            untold = network(shown, condition, scaled, torch.zeros_like(group))
            found = untold + params.guidance * (found - untold)
        return found

    mixture, course = _noise(noise(), params), _course(params)
    for (time, here), there in zip(course, [*(angle for _, angle in course[1:]), 0.0], strict=True):
        found = told(mixture, time)
        if params.flow == "rectified":
            mixture = mixture + (here - there) * found
            continue
        clean, left = (
            math.cos(here) * mixture + math.sin(here) * found,
            math.sin(here) * mixture - math.cos(here) * found,
        )
        # the share of noise that DDPM draws anew; DDIM draws none (2010.02502, eq. 16)
        share = 1 - (math.cos(here) / math.cos(there)) ** 2 if params.flow == "ddpm" else 0.0
        fresh = math.sin(there) / math.sin(here) * math.sqrt(max(share, 0.0))
        mixture = math.cos(there) * clean + math.sqrt(max(math.sin(there) ** 2 - fresh**2, 0.0)) * left
        if fresh:
            mixture = mixture + fresh * _noise(noise(), params)
    return mixture


def plain(rng: np.random.Generator, like: Tensor, channels: int) -> Tensor:
    """White noise for conditions [item, plane, *space], on their device."""
    drawn = rng.standard_normal((len(like), channels, *like.shape[2:]), np.float32)
    return torch.from_numpy(drawn).to(like.device)
