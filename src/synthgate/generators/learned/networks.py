"""The networks of learned painters: MONAI's, on images whose squares of pixels are folded into channels."""

from collections.abc import Sequence

import torch
from einops import rearrange
from monai.networks.nets import DiffusionModelUNet, PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

GROUPS = 8
"""Of the group norm; widths are multiples of it."""


def fold(image: Tensor, patch: int) -> Tensor:
    """Squares of `patch` pixels in the plane become channels of one (Shi et al. 2016); [item, channel, x, y, …]."""
    if image.ndim == 4:
        return functional.pixel_unshuffle(image, patch)
    return rearrange(image, "n c (x p) (y q) z -> n (c p q) x y z", p=patch, q=patch)


def unfold(image: Tensor, patch: int) -> Tensor:
    """Undo `fold`."""
    if image.ndim == 4:
        return functional.pixel_shuffle(image, patch)  # unlike the other, keeps channels last where they are
    return rearrange(image, "n (c p q) x y z -> n c (x p) (y q) z", p=patch, q=patch)


class Folded(nn.Module):
    """A time- and class-conditional U-Net, [item, channel, *space] → [item, out, *space].

    It sees folded pixels: the same for a fraction of the time. The condition is laid beside the input. What it gives
    before training is 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        features: Sequence[int],
        patch: int,
        classes: int,
        *,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.network = DiffusionModelUNet(
            spatial_dims=dims,
            in_channels=inputs * patch**2,
            out_channels=outputs * patch**2,
            channels=tuple(features),
            attention_levels=[False] * len(features),
            num_res_blocks=1,
            norm_num_groups=GROUPS,
            num_class_embeds=classes + 1,
            with_conditioning=False,
        )

    def forward(self, image: Tensor, condition: Tensor, time: Tensor, group: Tensor) -> Tensor:
        """`time` [item] in 0..1000, `group` [item] class indices, 0 for none."""
        folded = fold(torch.cat([image, condition], 1), self.patch)
        return unfold(self.network(folded, time, class_labels=group), self.patch)


def critic(inputs: int, features: int, levels: int) -> nn.Module:
    """Patches of residual and condition [slice, channel, x, y] → the features of all levels, logits last.

    Spectral norm (Miyato et al. 2018, 1802.05957) and no other: nothing mixes the slices of a batch.
    """
    network = PatchDiscriminator(
        spatial_dims=2,
        channels=features,
        in_channels=inputs,
        out_channels=1,
        num_layers_d=levels,
        norm=None,  # type: ignore[arg-type]
    )
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return network
