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
    """Slices (2D) or volumes (3D) per step, over all devices."""
    learning_rate: Annotated[float, Field(gt=0)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay per step of the exponential moving average of the weights, which is what samples."""
    checkpoint_every: Count
    """Steps between checkpoints: each is kept for resuming, sampled, and judged by the criterion."""
    judged: Annotated[int, Field(ge=5)]
    """Slices of learned and of unseen patients by which the criterion judges a checkpoint; fewer cannot show memory."""
    memorised: Annotated[float, Field(gt=0, lt=1)]
    """Training stops where samples for learned patients' maps are nearer to their images than this share of how far
    those for unseen patients' are from theirs, unless that may be chance."""
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
    paints: Literal["head", "lesion"] = "head"
    """head: whole images; lesion: lesion and rim are painted into the real image of the training patient whose head it
    is, and the generator's folder and its batches hold real pixels (docs/generators.md)."""

    def __post_init__(self) -> None:
        if len(self.features) < 3 or any(width < 8 or width % 8 for width in self.features):
            raise ValueError(f"features must be at least three multiples of 8, got {list(self.features)}")

    @property
    def multiple(self) -> int:
        """What the sides of a prepared slice are to be multiples of."""
        return int(self.patch * 2 ** (len(self.features) - 1))


@dataclass(frozen=True, config=strict)
class Public:
    """People who agreed that all of them is shown, or whom nobody is behind; not the study's patients."""

    folder: str
    """A cohort folder with the study's channels and labels, relative to the repository's root and outside `data/`."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of that folder (`synthgate.files.digest`): another content is refused."""


@dataclass(frozen=True, config=strict)
class Privacy:
    """Differentially private training, whose unit is the patient (docs/private.md)."""

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Largest ε that the training may spend, at the end of `fitting.steps`."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Less than 1 / number of patients that the weights learn from."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Largest L2 norm of one patient's gradient in a step."""
    patients: Count
    """Patients expected in a step: each is drawn with probability `patients` / number of patients."""
    public: Public | None = None
    """Where given, all but the weights comes from these people, and ε holds for the images too."""


@dataclass(frozen=True, config=strict, kw_only=True)
class Latent:
    """An autoencoder of whole volumes, in whose latent space a diffusion is trained (2112.10752)."""

    size: tuple[Count, Count, Count]
    """Voxels (x, y, z) of a training volume, around its head: padded with 0 where smaller, cropped where larger."""
    features: tuple[int, ...]
    """Channels of the autoencoder's levels, finest first; multiples of 8. Each further level halves the grid."""
    channels: Count
    """Channels of the latent."""
    steps: Count
    """Optimiser steps of the autoencoder."""
    batch: Count
    """Volumes in one of them, over all devices."""
    learning_rate: Annotated[float, Field(gt=0)]
    kl: Annotated[float, Field(ge=0)]
    """Weight of the mean Kullback-Leibler divergence of a latent value from N(0, 1), beside the mean absolute error."""
    checkpoint_every: Count
    """Steps of the autoencoder between checkpoints for resuming."""

    def __post_init__(self) -> None:
        if len(self.features) < 2 or any(width < 8 or width % 8 for width in self.features):
            raise ValueError(f"latent.features must be at least two multiples of 8, got {list(self.features)}")

    @property
    def shrinks(self) -> int:
        """How many voxels (folded ones in the plane) a latent's cell has along each axis."""
        return int(2 ** (len(self.features) - 1))


@dataclass(frozen=True, config=strict, kw_only=True)
class Diffusion(Learned):
    """Mask-conditional diffusion: of pixels, slice by slice, or of the latents of whole volumes."""

    kind: Literal["diffusion"]
    flow: Literal["rectified", "ddpm", "ddim"]
    """rectified: an even path from noise to image; ddpm, ddim: 250 noisings undone, with fresh noise or without."""
    steps: Count
    """Network evaluations of one sample (twice as many with guidance)."""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """Classifier-free guidance on the attributes; 1: none, 0: attributes do not count."""
    privacy: Privacy | None = None
    """Where given, the weights are trained privately, and differ from run to run."""
    latent: Latent | None = None
    """Where given, whole volumes are painted in 3D, and `features` are those of the U-Net on their latents."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.paints == "lesion" and self.privacy is not None:
            raise ValueError("paints: lesion and privacy exclude each other: real images of patients are kept")
        if self.latent is None:
            return
        if self.paints == "lesion":
            raise ValueError(
                "paints: lesion and latent exclude each other: an autoencoder would not keep the rest of the image"
            )
        if self.privacy is not None:
            raise ValueError("latent and privacy exclude each other: the autoencoder's training is not private")
        if any(side % unit for side, unit in zip(self.latent.size, self.multiples, strict=True)):
            raise ValueError(
                f"latent.size must be multiples of {list(self.multiples)} ({len(self.latent.features)} levels of the "
                f"autoencoder, {len(self.features)} of the U-Net, patch {self.patch}), got {list(self.latent.size)}"
            )

    @property
    def multiple(self) -> int:
        """As for every learned generator; of any size where volumes are padded."""
        return super().multiple if self.latent is None else 1

    @property
    def multiples(self) -> tuple[int, int, int]:
        """What the sides (x, y, z) of a volume that the networks see are multiples of."""
        assert self.latent is not None
        through = self.latent.shrinks * 2 ** (len(self.features) - 1)
        return self.patch * through, self.patch * through, through


@dataclass(frozen=True, config=strict, kw_only=True)
class Gan(Learned):
    """A generator and a discriminator of residuals: hinge loss, DiffAugment, feature matching, spectral norm."""

    kind: Literal["gan"]
    critic_features: Count
    """Channels of the discriminator's first level; each further one has twice as many."""
    critic_levels: Count
    critic_rate: Annotated[float, Field(gt=0)]
    """Its learning rate."""
    matching: Annotated[float, Field(ge=0)]
    """Weight of feature matching."""


Generator = Annotated[Randomised | Diffusion | Gan, Field(discriminator="kind")]
"""A row of `generators`."""
KINDS: Mapping[str, type[Source]] = {"randomised": Randomised, "diffusion": Diffusion, "gan": Gan}


@dataclass(frozen=True, config=strict)
class Compute:
    """What learned generators train and sample on, in Lightning's words (docs/generators.md).

    A batch and its learning rate are those of all devices together: neither grows with their number.
    """

    accelerator: str = "auto"
    devices: Count | Literal["auto"] = 1
    """Of each machine; on accelerator cpu, so many processes."""
    num_nodes: Count = 1
    """Machines to train on."""
    strategy: Literal["auto", "ddp"] = "auto"
    """Where there are several devices both are ddp: every device has all weights and a part of the batch."""


ALONE = Compute()
"""One device of this machine."""


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
