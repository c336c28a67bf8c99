import pytest
import torch
from test_learned import DIFFUSION, GAN

from synthgate.generators.learned import adversarial, networks
from synthgate.generators.learned.conditions import Conditions
from synthgate.generators.learned.noise import reddened
from synthgate.generators.learned.slices import CHANCES, Drawn
from synthgate.generators.learned.teaching import network_of

CHANNELS, SIDE = 2, 16
CONDITIONS = Conditions.of((1, 16, 17), ("site",), ({"site": "A"}, {"site": "B"}))


def drawn():
    source = torch.Generator().manual_seed(0)
    condition = torch.rand(4, CONDITIONS.channels(CHANNELS), SIDE, SIDE, generator=source)
    condition[:, -1] = 0
    condition[:, -1, 4:12, 4:12] = 1
    residual, noise = torch.randn(2, 4, CHANNELS, SIDE, SIDE, generator=source)
    return Drawn(residual, condition, torch.ones(4, dtype=torch.long), noise, torch.full((4, CHANCES), 0.5))


def shown(batch):
    """What a critic is shown of the residual."""
    told, _ = adversarial.judged(lambda image: [image[:, :CHANNELS], image.mean()], batch.residual, batch)
    return told


def test_a_critic_is_shown_the_residual_as_strong_as_it_is_learned_and_nothing_outside_the_head():
    batch = drawn()
    head = batch.condition[:, -1:]
    elsewhere = batch._replace(residual=batch.residual + 9 * (1 - head))
    fainter = batch._replace(condition=torch.cat([batch.condition[:, :-1] / 50, head], 1))
    assert torch.equal(shown(batch), shown(elsewhere)) and torch.equal(shown(batch), shown(fainter))
    kept = shown(batch).abs() > 1e-6  # all but what DiffAugment cuts out
    torch.testing.assert_close(shown(batch)[kept], (batch.residual * head)[kept])
    assert kept.sum() > 100


@pytest.mark.parametrize("row", [GAN, DIFFUSION], ids=["gan", "diffusion"])
def test_a_gan_begins_with_the_noise_that_a_flow_begins_with_and_its_network_at_nothing(row):
    torch.manual_seed(0)
    batch = drawn()
    network = network_of(row, CHANNELS, CONDITIONS)
    with torch.no_grad():
        begun = adversarial.draw(network, batch.noise, batch.condition, batch.group)
    assert torch.equal(begun, reddened(batch.noise))


def test_what_a_gan_adds_depends_on_the_noise_where_it_paints_and_on_no_other(monkeypatch):
    monkeypatch.setattr(adversarial, "reddened", lambda white: white)  # which mixes what is inside and outside
    torch.manual_seed(0)
    batch = drawn()
    network = network_of(GAN, CHANNELS, CONDITIONS)
    torch.nn.init.normal_(network.network.out[-1].conv.weight)

    def added(white):
        with torch.no_grad():
            return adversarial.draw(network, white, batch.condition, batch.group) - white

    head = batch.condition[:, -1:]
    assert (added(batch.noise) - added(-batch.noise)).std().item() > 0.1
    torch.testing.assert_close(added(batch.noise), added(batch.noise * head), rtol=0, atol=1e-5)


def test_a_critic_reaches_the_margins_of_the_hinge_where_residuals_differ_by_little():
    """Spectral norm alone keeps it so flat that the hinge is linear: no sample is ever told well enough."""
    torch.manual_seed(0)
    batch = drawn()
    critic = networks.critic(CHANNELS + CONDITIONS.channels(CHANNELS), 8, 2)
    optimiser = torch.optim.AdamW(critic.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        real, made = (adversarial.judged(critic, share * batch.residual, batch) for share in (1.0, 0.8))
        optimiser.zero_grad()
        losses.append(adversarial.critic_loss(real, made))
        losses[-1].backward()
        optimiser.step()
    assert torch.stack(losses[-20:]).mean().item() < 0.8  # of 2 at first
