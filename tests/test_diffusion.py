import dataclasses
import math

import pytest
import torch
from test_learned import DIFFUSION

from synthgate.generators.learned import diffusion
from synthgate.generators.learned.slices import CHANCES, Drawn
from synthgate.params import Latent

SHAPE = (6, 2, 64, 48)
CONDITION, GROUP = torch.ones(6, 1, 64, 48), torch.zeros(6, dtype=torch.long)
LATENT = Latent(
    size=(32, 32, 8), features=(8, 8), channels=3, steps=4, batch=2, learning_rate=3e-3, kl=1e-4, checkpoint_every=2
)


def row(flow, steps):
    return dataclasses.replace(DIFFUSION, flow=flow, steps=steps, guidance=1.0)


def white(seed=0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def sampled(network, params):
    source = torch.Generator().manual_seed(1)
    return diffusion.sample(network, CONDITION, GROUP, params, lambda: torch.randn(SHAPE, generator=source))


def ignorant(mixture, condition, time, group):
    return torch.zeros_like(mixture)


def power(image):
    """Mean power by octaves of frequency, from 1/32 to 1/4, and beyond 0.4 cycles per pixel."""
    spectrum = torch.fft.fft2(image).abs().square().mean((0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(48)[None])
    octaves = [spectrum[(frequency >= low) & (frequency < 2 * low)].sum().item() for low in (1 / 32, 1 / 16, 1 / 8)]
    return octaves, spectrum[frequency > 0.4].sum().item()


def test_red_noise_has_unit_spread_the_same_in_every_octave_and_nothing_fine():
    made = torch.cat([diffusion.reddened(white(seed)) for seed in range(8)])
    assert made.std().item() == pytest.approx(1, abs=0.1) and abs(made.mean().item()) < 0.1
    octaves, fine = power(made)
    assert max(octaves) / min(octaves) < 1.5 and fine < 0.05 * min(octaves)
    assert abs(torch.corrcoef(made.transpose(0, 1).flatten(1))[0, 1].item()) < 0.15  # each channel has its own
    volume = diffusion.reddened(torch.randn(4, 1, 24, 32, 16, generator=torch.Generator().manual_seed(0)))
    assert volume.shape == (4, 1, 24, 32, 16) and volume.std().item() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(("flow", "steps"), [("rectified", 1), ("rectified", 4), ("rectified", 20), ("ddpm", 250)])
def test_with_nothing_learned_what_is_painted_is_as_strong_as_it_should_be_at_every_scale(flow, steps):
    made, noise = (power(part)[0] for part in (sampled(ignorant, row(flow, steps)), diffusion.reddened(white())))
    for ours, theirs in zip(made, noise, strict=True):
        assert ours == pytest.approx(theirs, rel=0.35)


@pytest.mark.parametrize(("flow", "steps"), [("rectified", 20), ("ddpm", 250), ("ddim", 50)])
def test_a_network_that_knows_the_image_paints_it(flow, steps):
    image = 0.5 + white(2)

    def knowing(mixture, condition, time, group):
        assert time.max() <= diffusion.TIMES
        if flow == "rectified":
            share = float(time[0]) / diffusion.TIMES
            angle = math.atan2(share, 1 - share)
        else:
            angle = float(diffusion._noised(row(flow, steps)).alphas_cumprod[round(float(time[0]) / 4)].sqrt().acos())
        noise = (mixture - math.cos(angle) * image) / math.sin(angle)
        return math.sin(angle) * image - math.cos(angle) * noise

    error = (sampled(knowing, row(flow, steps)) - image).square().mean().sqrt().item()
    assert error < 0.05 * image.std().item()


@pytest.mark.parametrize("flow", ["rectified", "ddpm", "ddim"])
def test_the_loss_of_nothing_learned_is_1_and_of_a_network_that_knows_all_0(flow):
    image = diffusion.reddened(white(3))
    chances = torch.rand(6, CHANCES, generator=torch.Generator().manual_seed(0))
    batch = Drawn(image, CONDITION, GROUP, white(4), chances)
    assert diffusion.loss(ignorant, batch, row(flow, 4)).item() == pytest.approx(1, rel=0.15)

    def knowing(mixture, condition, time, group):
        # cos image + sin noise, so both can be told from the mixture and its angle
        noise = diffusion.reddened(batch.noise)
        some = (mixture * noise).sum((1, 2, 3)), (mixture * image).sum((1, 2, 3))
        gram = torch.stack([(a * b).sum((1, 2, 3)) for a, b in ((noise, noise), (noise, image), (image, image))])
        both = torch.stack([torch.stack([gram[0], gram[1]], 1), torch.stack([gram[1], gram[2]], 1)], 1)
        sine, cosine = torch.linalg.solve(both, torch.stack(some, 1)).T[:, :, None, None, None]
        torch.testing.assert_close(sine.square() + cosine.square(), torch.ones_like(sine), atol=1e-3, rtol=0)
        return sine * image - cosine * noise

    assert diffusion.loss(knowing, batch, row(flow, 4)).item() < 1e-6
    # where nothing is painted nothing counts
    half = CONDITION.clone()
    half[:, :, :32] = 0
    spoiled = batch._replace(condition=half, residual=image + 100 * (1 - half))
    assert diffusion.loss(ignorant, spoiled, row(flow, 4)).item() < 2


def test_a_latent_s_noise_is_white():
    params = dataclasses.replace(row("rectified", 2), latent=LATENT)
    assert torch.equal(sampled(ignorant, params), torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(sampled(ignorant, params), sampled(ignorant, row("rectified", 2)))
