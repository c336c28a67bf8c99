import pytest
import torch
from test_learned import DIFFUSION, GAN

from synthgate.generators.learned import adversarial
from synthgate.generators.learned.conditions import Conditions
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
    [seen] = adversarial.judged(lambda image: [image[:, :CHANNELS]], batch.residual, batch)
    return seen


def test_a_critic_is_shown_the_residual_as_strong_as_it_is_learned_and_nothing_outside_the_head():
    batch = drawn()
    head = batch.condition[:, -1:]
    elsewhere = batch._replace(residual=batch.residual + 9 * (1 - head))
    fainter = batch._replace(condition=torch.cat([batch.condition[:, :-1] / 50, head], 1))
    assert torch.equal(shown(batch), shown(elsewhere)) and torch.equal(shown(batch), shown(fainter))
    kept = shown(batch).abs() > 1e-6  # all but what DiffAugment cuts out
    torch.testing.assert_close(shown(batch)[kept], (batch.residual * head)[kept])
    assert kept.sum() > 100


@pytest.mark.parametrize(("row", "least", "most"), [(GAN, 0.1, 2.0), (DIFFUSION, 0.0, 0.0)], ids=["gan", "diffusion"])
def test_a_gan_begins_with_noise_and_a_flow_at_nothing(row, least, most):
    torch.manual_seed(0)
    batch = drawn()
    network = network_of(row, CHANNELS, CONDITIONS)
    with torch.no_grad():
        begun, other = (
            adversarial.draw(network, noise, batch.condition, batch.group) for noise in (batch.noise, -batch.noise)
        )
    assert begun.shape == batch.residual.shape
    assert least <= begun.std().item() <= most and least <= (begun - other).std().item() <= 2 * most
