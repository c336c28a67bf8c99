import dataclasses
import math

import pytest
import torch
from monai.networks.schedulers import DDPMScheduler
from test_learned import DIFFUSION

from synthgate.generators.learned import diffusion
from synthgate.generators.learned.noise import reddened
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
    made = torch.cat([reddened(white(seed)) for seed in range(8)])
    assert made.std().item() == pytest.approx(1, abs=0.1) and abs(made.mean().item()) < 0.1
    octaves, fine = power(made)
    assert max(octaves) / min(octaves) < 1.5 and fine < 0.05 * min(octaves)
    assert abs(torch.corrcoef(made.transpose(0, 1).flatten(1))[0, 1].item()) < 0.15  # each channel has its own
    volume = reddened(torch.randn(4, 1, 24, 32, 16, generator=torch.Generator().manual_seed(0)))
    assert volume.shape == (4, 1, 24, 32, 16) and volume.std().item() == pytest.approx(1, abs=0.2)


def begun():
    """The noise that `sampled` begins with."""
    return reddened(white(1))


def angle_of(flow, time):
    share = float(time[0]) / diffusion.TIMES
    if flow == "rectified":
        return math.atan2(share, 1 - share)
    return math.acos(float(diffusion._kept()[round(share * diffusion.NOISINGS)].sqrt()))


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_with_nothing_learned_a_flow_paints_its_noise(steps):
    assert torch.equal(sampled(ignorant, row("rectified", steps)), begun())


def test_with_nothing_learned_ddpm_paints_noise_as_strong_at_every_scale():
    made = power(sampled(ignorant, row("ddpm", 250)))[0]
    for ours, theirs in zip(made, power(begun())[0], strict=True):
        assert ours == pytest.approx(theirs, rel=0.35)


@pytest.mark.parametrize(
    ("flow", "steps", "most"),
    [("rectified", 100, 0.03), ("rectified", 20, 0.1), ("ddim", 1, 0.02), ("ddim", 4, 0.02), ("ddim", 100, 0.02)],
)
def test_a_network_that_knows_image_and_noise_leads_from_one_to_the_other(flow, steps, most):
    image, asked = 0.5 + white(2), []

    def knowing(mixture, condition, time, group):
        asked.append(float(time[0]))
        angle = angle_of(flow, time)
        return math.sin(angle) * image - math.cos(angle) * begun()

    error = (sampled(knowing, row(flow, steps)) - image).square().mean().sqrt().item()
    assert error < most * image.std().item()
    assert len(asked) == steps and asked == sorted(asked, reverse=True) and asked[0] > 0.99 * diffusion.TIMES


@pytest.mark.parametrize("steps", [1, 4, 250])
def test_a_network_that_knows_the_image_leads_ddpm_to_it(steps):
    image = 0.5 + white(2)

    def knowing(mixture, condition, time, group):
        angle = angle_of("ddpm", time)
        return (image - math.cos(angle) * mixture) / math.sin(angle)

    assert (sampled(knowing, row("ddpm", steps)) - image).abs().max().item() < 0.05


def test_steps_of_ddpm_are_those_of_monai():
    schedule = DDPMScheduler(num_train_timesteps=250, beta_start=4e-4, beta_end=8e-2)
    image, mixtures = 0.5 + white(2), []

    def knowing(mixture, condition, time, group):
        mixtures.append(mixture)
        angle = angle_of("ddpm", time)
        return (image - math.cos(angle) * mixture) / math.sin(angle)

    diffusion.sample(knowing, CONDITION, GROUP, row("ddpm", 250), lambda: torch.zeros(SHAPE))
    for time in (249, 120, 1):
        before, after = mixtures[249 - time], mixtures[250 - time]
        total, earlier = schedule.alphas_cumprod[time], schedule.alphas_cumprod[time - 1]
        mean = earlier.sqrt() * schedule.betas[time] / (1 - total) * image
        mean = mean + schedule.alphas[time].sqrt() * (1 - earlier) / (1 - total) * before
        torch.testing.assert_close(after, mean, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("flow", ["rectified", "ddpm"])
def test_a_network_is_shown_nothing_of_where_nothing_is_painted(flow):
    half = CONDITION.clone()
    half[:, :, :32] = 0
    seen = []

    def looking(mixture, condition, time, group):
        seen.append(mixture)
        return torch.ones_like(mixture)

    batch = Drawn(white(3), half, GROUP, white(4), torch.full((6, CHANCES), 0.5))
    diffusion.loss(looking, batch, row(flow, 3))
    diffusion.sample(looking, half, GROUP, row(flow, 3), white)
    assert len(seen) == 4
    for mixture in seen:
        assert not mixture[:, :, :32].any() and mixture[:, :, 32:].std() > 0.1


def test_a_rectified_flow_learns_most_of_what_is_nearly_noise():
    even = (torch.arange(6) + 0.5)[:, None].expand(6, CHANCES) / 6
    asked = []

    def listening(mixture, condition, time, group):
        asked.append(time / diffusion.TIMES)
        return mixture

    diffusion.loss(listening, Drawn(white(3), CONDITION, GROUP, white(4), even), row("rectified", 3))
    torch.testing.assert_close(asked[0], torch.tensor([3 / 14, 1 / 2, 15 / 22, 21 / 26, 9 / 10, 33 / 34]))


@pytest.mark.parametrize("flow", ["rectified", "ddpm", "ddim"])
def test_the_loss_of_nothing_learned_is_1_and_of_a_network_that_knows_all_0(flow):
    image = reddened(white(3))
    chances = torch.rand(6, CHANCES, generator=torch.Generator().manual_seed(0))
    batch = Drawn(image, CONDITION, GROUP, white(4), chances)
    assert diffusion.loss(ignorant, batch, row(flow, 4)).item() == pytest.approx(1, rel=0.15)

    def knowing(mixture, condition, time, group):
        # cos image + sin noise, so both can be told from the mixture and its angle
        noise = reddened(batch.noise)
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
