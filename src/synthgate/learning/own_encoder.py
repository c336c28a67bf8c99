"""A user's own encoder as a feature space: a network of MONAI's with the user's weights, known by their digest."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from synthgate.errors import ArtefactError, ParamsError
from synthgate.features.head import head_of
from synthgate.files import digest
from synthgate.params import OwnEncoder

SLICES = 16
"""Axial slices, evenly over the head, that a 2D network sees."""


class OwnSpace:
    """Features of prepared images; no patient of the study shaped them, unless the user's weights have seen them."""

    def __init__(self, params: OwnEncoder, channels: int, size: tuple[int, int] = (64, 64)) -> None:
        """`size` is the prepared grid in-plane.

        Raises ParamsError for what is no network, ArtefactError for weights missing, changed or not fitting.
        """
        self.dims = int(params.arguments.get("spatial_dims", 3))
        path = Path(params.weights)
        if not path.is_file():
            raise ArtefactError(f"calibrate.own_encoder.weights: {path} is missing")
        if (found := digest(path)) != params.sha256:
            raise ArtefactError(f"calibrate.own_encoder: expected {path} with sha256 {params.sha256}, found {found}")
        from monai.networks import nets  # dozens of networks, which take a second

        kind = getattr(nets, params.network, None)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise ParamsError(f"calibrate.own_encoder.network: {params.network} is no class of monai.networks.nets")
        try:
            self.network = kind(**params.arguments)
            self.network.load_state_dict(load_file(path))
            self.network.eval()
            tried = np.zeros((channels, *size, 32), np.float32)
            tried[:, 2:-2, 2:-2, 2:-2] = 1
            self.width = len(self.embed(tried))
        except (SafetensorError, RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise ArtefactError(f"calibrate.own_encoder: {path} does not fit {params.network}: {error}") from error

    def embed(self, image: np.ndarray) -> np.ndarray:
        """[channel, x, y, z] float32, 0 outside the head → [features] float64; NaN for an image without a head.

        The network's last output [view, feature, *space], averaged over space, and over slices where it is 2D; of an
        output and its hidden states (MONAI's ViT) the output [view, token, feature], averaged over tokens.
        """
        hits = np.flatnonzero(head_of(image).any(axis=(0, 1)))
        if not len(hits):
            return np.full(self.width, np.nan)
        if self.dims == 2:
            chosen = np.unique(np.linspace(hits[0], hits[-1], SLICES).round().astype(int))
            views = image[..., chosen].transpose(3, 0, 1, 2)
        else:
            views = image[None]
        with torch.inference_mode():
            found = self.network(torch.from_numpy(np.ascontiguousarray(views, dtype=np.float32)))
        if isinstance(found, tuple) and isinstance(found[0], Tensor) and found[0].ndim == 3:
            found = found[0].transpose(1, 2)
        while not isinstance(found, Tensor):
            found = found[-1]
        return np.asarray(found.flatten(2).mean(2).mean(0) if found.ndim > 2 else found.mean(0), np.float64)
