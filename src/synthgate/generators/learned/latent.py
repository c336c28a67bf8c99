"""Painting whole volumes: a flow in an autoencoder's latent space (Rombach et al. 2022, 2112.10752; 3D: 2209.07162).

The autoencoder knows residuals, as all painters do: the mean image, which has the fine borders of the anatomy, is added
to what it decodes.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from synthgate.generators.learned import diffusion
from synthgate.generators.learned.networks import GROUPS, fold, unfold
from synthgate.generators.learned.volumes import Window
from synthgate.learning import weights
from synthgate.params import Diffusion, Latent

NAME = "autoencoder.safetensors"
OUTSIDE = 0.1
"""What a latent outside the head weighs in the loss: the decoder's norms are over all of the volume."""


class Autoencoder(nn.Module):
    """MONAI's, of volumes [volume, channel, x, y, z] whose in-plane squares of `patch` voxels are folded."""

    def __init__(self, channels: int, latent: Latent, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.network = AutoencoderKL(
            spatial_dims=3,
            in_channels=channels * patch**2,
            out_channels=channels * patch**2,
            channels=latent.features,
            latent_channels=latent.channels,
            num_res_blocks=1,
            attention_levels=[False] * len(latent.features),
            norm_num_groups=GROUPS,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def encode(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latent, [volume, channel, x, y, z] on its own grid."""
        mean, spread = self.network.encode(fold(residual, self.patch))
        return mean, spread

    def decode(self, latent: Tensor) -> Tensor:
        """Back to [volume, channel, x, y, z]."""
        return unfold(self.network.decode(latent), self.patch)

    def forward(self, residual: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The residual again, by a latent drawn with `noise`; and the latent's mean and standard deviation."""
        mean, spread = self.encode(residual)
        return self.decode(mean + spread * noise), mean, spread


@dataclass(frozen=True)
class Space:
    """A trained autoencoder and the scale of its latents."""

    autoencoder: Autoencoder
    latent: Latent
    mean: np.ndarray
    """[channel] float32 over the training's latents, within heads."""
    spread: np.ndarray

    @classmethod
    def built(cls, tables: Mapping[str, np.ndarray], params: Diffusion, channels: int, folder: Path) -> "Space":
        """From the tables and the weights that training wrote; raises ArtefactError."""
        assert params.latent is not None
        autoencoder = Autoencoder(channels, params.latent, params.patch)
        weights.load(autoencoder, folder, NAME)
        return cls(autoencoder, params.latent, tables["latent.mean"], tables["latent.spread"])

    def tables(self) -> dict[str, np.ndarray]:
        """What `built` needs beside the weights."""
        return {"latent.mean": self.mean, "latent.spread": self.spread}

    def scaled(self, latent: np.ndarray) -> np.ndarray:
        """Latents [volume, channel, x, y, z] at mean 0 and unit spread."""
        return (latent - self.mean[:, None, None, None]) / self.spread[:, None, None, None]

    @torch.inference_mode()
    def sample(
        self, network: nn.Module, condition: np.ndarray, group: int, params: Diffusion, rng: np.random.Generator
    ) -> np.ndarray:
        """Residual [channel, x, y, z] of unit spread for a condition [plane, x, y, z] on the voxels' grid."""
        device = next(network.parameters()).device
        autoencoder = self.autoencoder.to(device).eval()
        told = pooled(torch.from_numpy(condition[None]).to(device), self.latent, params.patch)
        draw = functools.partial(diffusion.plain, rng, told, self.latent.channels)
        made = diffusion.sample(network, told, torch.tensor([group], device=device), params, draw)
        mean, spread = (torch.from_numpy(t).to(device)[:, None, None, None] for t in (self.mean, self.spread))
        out: np.ndarray = autoencoder.decode(made * spread + mean)[0].float().cpu().numpy()
        return out


def pooled(condition: Tensor, latent: Latent, patch: int) -> Tensor:
    """A condition [volume, plane, x, y, z] on the latents' grid; its last plane, the head, is nowhere below OUTSIDE."""
    cell = latent.shrinks
    means = functional.avg_pool3d(condition, (patch * cell, patch * cell, cell))
    return torch.cat([means[:, :-1], means[:, -1:].clamp_min(OUTSIDE)], 1)


@dataclass(frozen=True)
class Whole:
    """Paints a head at once, in a window that it fits in."""

    network: nn.Module
    space: Space
    params: Diffusion

    def __call__(self, condition: np.ndarray, group: int, rng: np.random.Generator) -> np.ndarray:
        """Residual [slice, channel, x, y] of unit spread for the condition [slice, plane, x, y] of a whole head."""
        volume = np.moveaxis(condition, 0, -1)
        window = Window.over(volume[-1] > 0, self.space.latent.size, self.params.multiples)
        made = self.space.sample(self.network, window.cut(volume), group, self.params, rng)
        return np.moveaxis(window.back(made, volume.shape[1:]), -1, 0)
