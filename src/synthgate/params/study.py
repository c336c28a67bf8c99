"""Rows of `studies`: one clinical question, with a section for each stage that serves it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgate.params.kinds import Count, Share, strict

GROUPS = 4
"""Groups of the segmenter's group norm; its features are multiples of it."""


@dataclass(frozen=True, config=strict)
class Cohort:
    """What the real data of a study is; `synthgate adopt` writes this section."""

    simulated: bool
    """True for the shipped phantom: its pseudonym key is public and its hold-out ledger-exempt."""
    channels: tuple[str, ...]
    """Image channels in network order, e.g. t1, t1ce, t2, flair."""
    regions: Mapping[str, tuple[int, ...]]
    """Region name → the label values it unites, largest region first, e.g. WT: [1, 2, 4]."""
    strata: tuple[str, ...]
    """Attributes the splits are stratified by."""
    validation: Annotated[float, Field(gt=0, lt=1)]
    """Share of patients for validation."""
    hold_out: Annotated[float, Field(gt=0, lt=1)]
    """Share of patients for the hold-out."""
    split_seed: int
    """Seed of the split of new patients; those already in `splits/<study>.csv` never move."""

    def __post_init__(self) -> None:
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels must be named once each, got {list(self.channels)}")
        if not self.regions:
            raise ValueError("regions must name at least one region, e.g. WT: [1]")
        if any(min(values, default=0) < 1 for values in self.regions.values()):
            raise ValueError("a region unites label values ≥ 1; 0 is background")
        if self.validation + self.hold_out >= 1:
            raise ValueError(f"validation {self.validation} + hold_out {self.hold_out} leave nobody to train on")

    @property
    def labels(self) -> tuple[int, ...]:
        """All label values that occur in a region, sorted."""
        return tuple(sorted({value for values in self.regions.values() for value in values}))


@dataclass(frozen=True, config=strict)
class Prepare:
    """How real and synthetic volumes become the arrays that are trained on (and how the service prepares a request)."""

    size: tuple[int, int]
    """In-plane grid (x, y) in pixels that the head's box is fitted into; multiples of 16."""
    percentiles: tuple[float, float]
    """Intensities of the head's core (without scalp and skull) at these percentiles become 0 and 1, per channel."""
    shard_cases: Count
    """Cases in one shard of the store."""

    def __post_init__(self) -> None:
        if any(side < 16 or side % 16 for side in self.size):
            raise ValueError(f"size must be multiples of 16, got {list(self.size)}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles must rise within 0..100, got {list(self.percentiles)}")


@dataclass(frozen=True, config=strict)
class Segmenter:
    """Network and training of a segmenter (the judge's or an arm's)."""

    spatial_dims: Literal[2, 3]
    """2: trained on axial slices; 3: on patches. Evaluation is on whole volumes either way."""
    features: tuple[int, ...]
    """Channels of the U-Net's levels, finest first."""
    steps: Count
    """Optimiser steps; equal for all arms of a comparison."""
    batch: Count
    """Slices or patches per step."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak of the one-cycle schedule."""
    foreground: Share
    """Share of each batch drawn from slices (patches) that hold a lesion."""
    patch: tuple[int, ...]
    """Training patch (x, y) or (x, y, z) in voxels."""
    checkpoint_every: Count
    """Steps between scratch checkpoints; a killed training loses at most these."""

    def __post_init__(self) -> None:
        if len(self.patch) != self.spatial_dims:
            raise ValueError(
                f"patch needs {self.spatial_dims} numbers for spatial_dims {self.spatial_dims}, got {list(self.patch)}"
            )
        if len(self.features) < 3 or any(width < GROUPS or width % GROUPS for width in self.features):
            raise ValueError(f"features must be at least three multiples of {GROUPS}, got {list(self.features)}")
        step = 2 ** (len(self.features) - 1)
        if any(side % step for side in self.patch):
            raise ValueError(f"patch {list(self.patch)} must be divisible by {step} for {len(self.features)} levels")


@dataclass(frozen=True, config=strict)
class Encoder:
    """The learned copy encoder: NT-Xent over augmented thumbnails."""

    steps: Count
    batch: Annotated[int, Field(ge=2)]
    """Patients in a step, two views of each; all of them where there are fewer."""
    learning_rate: Annotated[float, Field(gt=0)]
    width: Annotated[int, Field(ge=4, multiple_of=4)]
    """Channels of the first layer."""
    temperature: Annotated[float, Field(gt=0)]
    """Of NT-Xent."""


@dataclass(frozen=True, config=strict)
class OwnEncoder:
    """A user's own encoder: one more space in which batches are compared with the patients."""

    network: str
    """A class of `monai.networks.nets`."""
    arguments: Mapping[str, Any]
    """Of its constructor; `spatial_dims` 2 looks at slices, 3 at volumes."""
    weights: str
    """Path of a `.safetensors` file."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of that file: other weights are refused."""


@dataclass(frozen=True, config=strict)
class Calibrate:
    """The judge's instruments."""

    folds: Annotated[int, Field(ge=2)]
    """Folds over development patients by which the instruments are cross-fitted."""
    segmenter: Segmenter
    """The judge model: real data only."""
    convolution_features: Count
    """Output channels of the fixed random convolutional space."""
    encoder: Encoder
    """Finds copies; cross-fitted over the same folds."""
    seed: int
    own_encoder: OwnEncoder | None = None


@dataclass(frozen=True, config=strict)
class Probe:
    """Probe trainings with and without a batch, by the network of `calibrate.segmenter`: whether it helps."""

    draws: Annotated[int, Field(ge=0)]
    """Pairs of trainings, each with a seed of its own; 0: use is not tested, and no batch is more than limited."""
    steps: Count
    """Optimiser steps of each training, its own budget."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Of each training batch that is drawn from the batch; the proportion that is tested."""
    margin: Share
    """Dice margin of no harm."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


@dataclass(frozen=True, config=strict)
class Gate:
    """How a batch is judged. Limits are calibrated on the patients at hand; these are budgets and margins."""

    permutations: Annotated[int, Field(ge=99)]
    """Label permutations of each null."""
    draws: Count
    """Sub-batches drawn, one case per donor; the median is reported."""
    error_rejecting: Share
    """Error budget of the rejecting axes (privacy excepted)."""
    error_privacy: Share
    """Error budget of the privacy axis."""
    agreement_margin: Share
    """Non-inferiority margin of the agreement Dice."""
    neighbours: Count
    """k of precision, recall, density and coverage."""
    components: Count
    """Principal components of a feature space in which distances are taken."""
    attributes: tuple[str, ...]
    """Attributes of a case whose groups are to be represented; a batch that does not state one is told so."""
    utility: Probe
    """How its use is tested."""
    seed: int


@dataclass(frozen=True, config=strict)
class Arm:
    """One way to train. The row's name is the arm's name."""

    patients: int | Literal["all"]
    """Number of real training patients, or all of them."""
    batches: Mapping[str, float]
    """Batch name → share of each training batch drawn from it; empty for real only."""
    regime: Literal["own", "donor"]
    """own: the generators saw only this arm's real patients; donor: they saw others too, which are listed."""
    baseline: str | None = None
    """The real-only arm it is compared with; None for a baseline itself."""

    def __post_init__(self) -> None:
        if any(not 0 < share <= 1 for share in self.batches.values()) or sum(self.batches.values()) > 1:
            raise ValueError(f"shares of batches must lie in (0, 1] and sum to at most 1, got {dict(self.batches)}")
        if bool(self.batches) != (self.baseline is not None):
            raise ValueError("an arm with batches names its real-only baseline; a real-only arm has none")


@dataclass(frozen=True, config=strict)
class Study:
    """The comparison of arms on validation, and real-only cross-validation over development."""

    arms: Mapping[str, Arm]
    draws: Count
    """Trainings per arm: each its own subset of patients and its own seed."""
    segmenter: Segmenter
    margin: Share
    """Dice margin of non-inferiority and of harm."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    folds: Annotated[int, Field(ge=0)]
    """Folds of the real-only cross-validation over development patients; 0: none."""
    seed: int

    def __post_init__(self) -> None:
        real_only = sorted(name for name, arm in self.arms.items() if not arm.batches)
        for name, arm in self.arms.items():
            base = self.arms.get(arm.baseline) if arm.baseline else None
            if arm.baseline and (base is None or base.batches):
                raise ValueError(f"arm {name}: baseline must be a real-only arm, one of {real_only}")
            if base and base.patients != arm.patients:
                raise ValueError(
                    f"arm {name}: its baseline {arm.baseline} has patients: {base.patients}, not {arm.patients}"
                )
        if self.folds == 1:
            raise ValueError("folds must be 0 (no cross-validation) or at least 2")


@dataclass(frozen=True, config=strict)
class Release:
    """Which candidate becomes the release: chosen on validation, measured once on the hold-out."""

    artifact: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-/]*[a-z0-9])?$")]
    """Its name under `artifacts:` in dvc.yaml (GTO: lower case, digits, hyphens)."""
    candidates: tuple[str, ...]
    """Arms that may be released; the first is the real-only fallback."""


@dataclass(frozen=True, config=strict)
class StudyRow:
    """One clinical question, with a section for each stage that serves it."""

    task: Literal["segmentation"]
    cohort: Cohort
    prepare: Prepare
    calibrate: Calibrate
    gate: Gate
    study: Study
    release: Release

    def __post_init__(self) -> None:
        arms = self.study.arms
        for name in self.release.candidates:
            if name not in arms:
                raise ValueError(f"release.candidates: no arm {name}; the arms are {sorted(arms)}")
        if not self.release.candidates or arms[self.release.candidates[0]].batches:
            raise ValueError("release.candidates: the first must be a real-only arm, the fallback")
