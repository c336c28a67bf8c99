"""The GAN's losses: hinge (1705.02894), feature matching (1711.11585), both under DiffAugment (2006.10738)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgate.generators.learned.noise import reddened, seen
from synthgate.generators.learned.slices import Drawn

SHIFT = 0.125
"""Largest translation, as a share of the side."""
CUT = 0.4
"""Side of the square that is cut out, as a share of the slice's."""
ALIKE = 0.1
"""Features nearer than this are matched by a squared error: where real and made are alike but for rounding, an absolute
one's gradient would be the sign of the rounding error, as large as any other."""

STEEPNESS = 30.0
"""What logits are multiplied by: spectral norm keeps a critic's slope below 1, and residuals differ too little for one
so flat to come near the margins of the hinge. It told the generator nothing."""


def augmented(residual: Tensor, condition: Tensor, uniform: Tensor) -> Tensor:
    """Residual and condition [slice, …, x, y] side by side, shifted and cut alike, the residual brighter or darker.

    The same `uniform` does the same; it is differentiable, and meets real and made residuals alike.
    """
    count, _, width, height = residual.shape
    middle = residual.mean((1, 2, 3), keepdim=True)
    bright, contrast = ((uniform[:, place, None, None, None] - 0.5) for place in (1, 2))
    both = torch.cat([(residual - middle) * (1 + contrast) + middle + bright, condition], 1)
    shift = ((uniform[:, 3:5] * 2 - 1) * SHIFT * torch.tensor([width, height], device=residual.device)).round().long()
    reach = int(SHIFT * max(width, height)) + 1
    padded = functional.pad(both, [reach] * 4)
    rows = torch.arange(width, device=residual.device)[None] + reach + shift[:, :1]
    columns = torch.arange(height, device=residual.device)[None] + reach + shift[:, 1:]
    which = torch.arange(count, device=residual.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    x, y = (torch.linspace(0, 1, side, device=residual.device) for side in (width, height))
    beyond = (x[None] - uniform[:, 5:6]).abs()[:, :, None] > CUT / 2
    beside = (y[None] - uniform[:, 6:7]).abs()[:, None, :] > CUT / 2
    return moved * (beyond | beside)[:, None]


def draw(network: nn.Module, white: Tensor, condition: Tensor, group: Tensor) -> Tensor:
    """Residual [slice, channel, x, y]: red noise, and what a network as diffusion's, asked once, at time 0, adds to it.

    From white noise texture has to be made by filters, which leave their grain: it lay in streaks.
    """
    red = reddened(white)
    added: Tensor = network(seen(red, condition), condition, torch.zeros(len(red), device=red.device), group)
    return red + added


def judged(critic: nn.Module, residual: Tensor, batch: Drawn) -> list[Tensor]:
    """The critic's features of augmented residuals where it is painted, logits last.

    It is not shown images: all that is painted is a few hundredths of their contrast.
    """
    *features, logits = critic(augmented(residual * batch.condition[:, -1:], batch.condition, batch.uniform))
    return [*features, STEEPNESS * logits]


def critic_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the discriminator."""
    return functional.relu(1 - real[-1]).mean() + functional.relu(1 + made[-1]).mean()


def drawing_loss(real: Sequence[Tensor], made: Sequence[Tensor], matching: float) -> Tensor:
    """Hinge loss of the generator, and by how much the features differ from those of the real slice."""
    pairs = zip(made[:-1], real[:-1], strict=True)
    apart = [functional.smooth_l1_loss(ours, theirs.detach(), beta=ALIKE) for ours, theirs in pairs]
    return matching * torch.stack(apart).mean() - made[-1].mean()
