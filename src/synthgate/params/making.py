"""Rows of `generators` and `batches`: what makes synthetic images, and what it is asked for."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgate.params.kinds import Count, strict
from synthgate.params.steer import Steer


@dataclass(frozen=True, config=strict)
class Patients:
    """Which training patients a generator may learn from."""

    size: int | Literal["all"]
    draw: int
    """Seed of the subset; the same draw gives nested subsets as the size grows."""


@dataclass(frozen=True, config=strict, kw_only=True)
class Source:
    """What every generator has: whom it learns from, and its anatomies."""

    study: str
    patients: Patients
    clusters: Annotated[int, Field(ge=2, le=12)]
    """Intensity clusters inside the brain that enrich an anatomy's label map."""
    smoothing: Annotated[float, Field(ge=0)]
    """Gaussian sigma in voxels before clustering."""
    recombine: bool
    """True: a lesion of one patient in the head of another; False: each patient's own anatomy."""
    seed: int


@dataclass(frozen=True, config=strict, kw_only=True)
class Randomised(Source):
    """Random contrast: nothing is learned but anatomies and a table of contrasts."""

    kind: Literal["randomised"]


@dataclass(frozen=True, config=strict, kw_only=True)
class Fitting:
    """The training of a learned generator."""

    steps: Count
    """Optimiser steps (of the generator, where there is a discriminator too)."""
    batch: Count
    """Slices (2D) or patches (3D) per step, over all devices."""
    learning_rate: Annotated[float, Field(gt=0)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay per step of the exponential moving average of the weights, which is what samples."""
    checkpoint_every: Count
    """Steps between checkpoints: each is kept for resuming, sampled, and judged by the criterion."""
    inner: Annotated[float, Field(gt=0, lt=1)]
    """Share of the training patients that the weights never learn from: they choose the checkpoint and stop it."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = True
    compile: bool = False


@dataclass(frozen=True, config=strict, kw_only=True)
class Learned(Source):
    """What learned generators share."""

    attributes: tuple[str, ...]
    """Attributes that the images depend on."""
    features: tuple[int, ...]
    """Channels of the U-Net's levels, finest first; multiples of 8."""
    patch: Annotated[int, Field(ge=1)]
    """Side of the in-plane squares of pixels that become channels of one; 1: none do."""
    fitting: Fitting


@dataclass(frozen=True, config=strict, kw_only=True)
class Diffusion(Learned):
    """Mask-conditional diffusion in pixel space, slice by slice."""

    kind: Literal["diffusion"]
    flow: Literal["rectified", "ddpm", "ddim"]
    """rectified: a straight path from noise to image; ddpm, ddim: noise is predicted, and sampled with it or without."""
    steps: Count
    """Network evaluations of one sample (twice as many with guidance)."""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """Classifier-free guidance on the attributes; 1: none, 0: attributes do not count."""


@dataclass(frozen=True, config=strict, kw_only=True)
class Gan(Learned):
    """A generator and a discriminator: hinge loss, DiffAugment, feature matching, spectral norm."""

    kind: Literal["gan"]
    discriminator: tuple[int, ...]
    """Channels of the discriminator's levels, finest first."""
    matching: Annotated[float, Field(ge=0)]
    """Weight of feature matching."""


Generator = Annotated[Randomised | Diffusion | Gan, Field(discriminator="kind")]
"""A row of `generators`."""
KINDS: Mapping[str, type[Source]] = {"randomised": Randomised, "diffusion": Diffusion, "gan": Gan}


@dataclass(frozen=True, config=strict)
class Batch:
    """A batch to synthesise."""

    study: str
    generator: str
    cases: Count
    seed: int
    intent: Literal["realistic", "training-only"]
    steer: Steer = field(default_factory=Steer)
    """What is asked for of its lesions and attributes; what is not is as in the training patients."""
