"""A learned painter: a network that adds to the mean image of an anatomy what a style does not tell."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from synthgate.cohort.prepare import BRIGHTEST
from synthgate.generators.anatomy import Anatomy
from synthgate.generators.learned import adversarial, diffusion, networks, noise
from synthgate.generators.learned.conditions import Conditions, Styles, image_of
from synthgate.generators.learned.inpainting import Originals, weights_of
from synthgate.generators.learned.latent import Space, Whole
from synthgate.learning import weights
from synthgate.params import Diffusion, Learned

AT_ONCE = 64
"""Slices a network sees at a time when it samples."""


def build(params: Learned, channels: int, conditions: Conditions) -> nn.Module:
    """The network of a row of `generators`, laid out in memory as the row says."""
    network = _network(params, channels, conditions)
    if params.fitting.channels_last:
        solid = isinstance(params, Diffusion) and params.latent is not None
        last = torch.channels_last_3d if solid else torch.channels_last
        network = network.to(memory_format=last)  # type: ignore[call-overload]
    return network


def _network(params: Learned, channels: int, conditions: Conditions) -> nn.Module:
    told, classes = conditions.channels(channels), len(conditions.groups)
    if isinstance(params, Diffusion) and params.latent is not None:
        width = params.latent.channels
        return networks.Folded(width + told, width, params.features, 1, classes, dims=3)
    return networks.Folded(channels + told, channels, params.features, params.patch, classes)


@torch.inference_mode()
def paint(network: nn.Module, params: Learned, condition: Tensor, group: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Residuals [slice, channel, x, y] of unit spread; `draw()` gives noise of that shape."""
    if isinstance(params, Diffusion):
        return diffusion.sample(network, condition, group, params, draw)
    return adversarial.draw(network, draw(), condition, group)


class Brush(Protocol):
    """Paints a head."""

    def __call__(self, condition: np.ndarray, group: int, rng: np.random.Generator) -> np.ndarray:
        """Residual [slice, channel, x, y] of unit spread for the condition [slice, plane, x, y] of a whole head."""


@dataclass(frozen=True)
class Slicewise:
    """Paints a head slice by slice, from noise that knows its neighbours."""

    network: nn.Module
    params: Learned
    channels: int
    alike: np.ndarray
    """Correlation of neighbouring slices, by band (`noise.BANDS`)."""

    def __call__(self, condition: np.ndarray, group: int, rng: np.random.Generator) -> np.ndarray:
        """Residual [slice, channel, x, y] of unit spread for the condition [slice, plane, x, y] of a whole head."""
        shape = (len(condition), self.channels, *condition.shape[2:])
        device = next(self.network.parameters()).device
        groups = torch.full((len(condition),), group, device=device)
        pieces = np.array_split(np.arange(len(condition)), -(-len(condition) // AT_ONCE))
        seed, made = rng.integers(2**62), []
        for piece in pieces:
            # every piece draws the noise of the whole volume, which knows no borders of pieces
            draw = functools.partial(_part, shape, self.alike, np.random.default_rng(seed), piece, device)
            told = torch.from_numpy(condition[piece]).to(device)
            made.append(paint(self.network, self.params, told, groups[piece], draw))
        out: np.ndarray = torch.cat(made).cpu().numpy()
        return out


@dataclass(frozen=True)
class Painter:
    """Paints heads: their mean image, and what a brush adds to it; or lesions in the same way, into real heads."""

    brush: Brush
    conditions: Conditions
    styles: Styles
    originals: Originals | None = None
    """The real heads; None where all is painted."""

    @classmethod
    def built(
        cls,
        config: Mapping[str, Any],
        tables: Mapping[str, np.ndarray],
        params: Learned,
        folder: Path,
        accelerator: str = "auto",
    ) -> "Painter":
        """From the configuration, the tables and the network's weights that training wrote; raises ArtefactError.

        The network is on the current GPU where there is one, unless `accelerator` is cpu.
        """
        styles = Styles(tuple(config["classes"]), tables["style"], tuple(one["attributes"] for one in config["heads"]))
        inpaints = params.paints == "lesion"
        fade = float(tables["fade"])
        conditions = Conditions.of(config["classes"], params.attributes, styles.attributes, inpaints, fade)
        channels = len(config["channels"])
        network = weights.load(build(params, channels, conditions), folder)
        if accelerator != "cpu" and torch.cuda.is_available():
            network = network.to("cuda")
        brush: Brush = Slicewise(network, params, channels, tables["alike"])
        if isinstance(params, Diffusion) and params.latent is not None:
            brush = Whole(network, Space.built(tables, params, channels, folder), params)
        originals = Originals.found(folder, [one["key"] for one in config["heads"]]) if inpaints else None
        return cls(brush, conditions, styles, originals)

    def sample(
        self, anatomies: Sequence[Anatomy], attributes: Sequence[Mapping[str, str]], rng: np.random.Generator
    ) -> list[np.ndarray]:
        """An image [channel, x, y, z] float32 of each anatomy, in the prepared store's convention."""
        one = self._head if self.originals is None else functools.partial(self._lesion, self.originals)
        return [
            np.ascontiguousarray(one(anatomy, shown, rng).transpose(1, 2, 3, 0))
            for anatomy, shown in zip(anatomies, attributes, strict=True)
        ]

    def _head(self, anatomy: Anatomy, shown: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
        """A whole image, [slice, channel, x, y]."""
        style = self.styles.mixed({k: v for k, v in shown.items() if k in self.conditions.attributes}, rng)
        shares = None if anatomy.shares is None else np.moveaxis(anatomy.shares, 3, 1)
        condition = self.conditions.planes(np.moveaxis(anatomy.map, 2, 0), style, shares)
        return np.clip(self._painted(condition, shown, rng), 0, BRIGHTEST)

    def _lesion(
        self, originals: Originals, anatomy: Anatomy, shown: Mapping[str, str], rng: np.random.Generator
    ) -> np.ndarray:
        """The head's own image [slice, channel, x, y], painted in its own style around its lesion and the anatomy's."""
        assert anatomy.real is not None
        codes, key = np.moveaxis(anatomy.map, 2, 0), anatomy.real.key
        image = originals.image(key)
        weight = weights_of(np.moveaxis((anatomy.label > 0) | anatomy.real.lesion, 2, 0)) * (codes > 0)
        first, last = np.flatnonzero(weight.any(axis=(1, 2)))[[0, -1]]
        some = slice(first, last + 1)  # no need to paint the others
        table = self.styles.table(self.styles.known[originals.keys.index(key)])
        planes = self.conditions.planes(codes[some], table)
        condition = self.conditions.within(planes, image[some], weight[some] > 0)
        painted = np.clip(self._painted(condition, shown, rng), 0, BRIGHTEST)
        image[some] += weight[some, None] * (painted - image[some])
        return image

    def _painted(self, condition: np.ndarray, shown: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
        return image_of(self.brush(condition, self.conditions.group(shown), rng), condition)


def _part(
    shape: tuple[int, ...], alike: np.ndarray, rng: np.random.Generator, piece: np.ndarray, device: torch.device
) -> Tensor:
    """The noise of some slices of a volume."""
    return torch.from_numpy(noise.correlated(shape, alike, rng)[piece]).to(device)
