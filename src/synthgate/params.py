"""`params.yaml` as frozen dataclasses: parsed once, cross-checked, every key documented here.

A section has the name of the stage that reads it. `studies`, `generators` and `batches` hold rows: adding one takes no
code and no new stage.
"""

from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from synthgate.errors import ParamsError

strict = ConfigDict(extra="forbid")
GROUPS = 4
"""Groups of the segmenter's group norm; its features are multiples of it."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]


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


@dataclass(frozen=True, config=strict)
class Patients:
    """Which training patients a generator may learn from."""

    size: int | Literal["all"]
    draw: int
    """Seed of the subset; the same draw gives nested subsets as the size grows."""


@dataclass(frozen=True, config=strict)
class Generator:
    """A generator and its training."""

    study: str
    kind: Literal["randomised"]
    patients: Patients
    clusters: Annotated[int, Field(ge=2, le=12)]
    """Intensity clusters inside the brain that enrich an anatomy's label map."""
    smoothing: Annotated[float, Field(ge=0)]
    """Gaussian sigma in voxels before clustering."""
    recombine: bool
    """True: a lesion of one patient in the head of another; False: each patient's own anatomy."""
    seed: int


@dataclass(frozen=True, config=strict)
class Batch:
    """A batch to synthesise."""

    study: str
    generator: str
    cases: Count
    seed: int
    intent: Literal["realistic", "training-only"]
    wish: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Attribute → group → share wished for; without one, its shares are to be like the real patients'."""

    def __post_init__(self) -> None:
        for attribute, shares in self.wish.items():
            if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"wish.{attribute}: shares must be at least 0 and sum to 1, got {dict(shares)}")


@dataclass(frozen=True, config=strict)
class Params:
    """All of `params.yaml`."""

    studies: Mapping[str, StudyRow]
    generators: Mapping[str, Generator]
    batches: Mapping[str, Batch]

    def __post_init__(self) -> None:
        for name, generator in self.generators.items():
            _known(f"generators.{name}.study", generator.study, self.studies)
        for name, batch in self.batches.items():
            _known(f"batches.{name}.study", batch.study, self.studies)
            _known(f"batches.{name}.generator", batch.generator, self.generators)
            other = self.generators[batch.generator].study
            if other != batch.study:
                raise ValueError(
                    f"batches.{name}: its generator {batch.generator} is of study {other}, not {batch.study}"
                )
        for study, row in self.studies.items():
            own = {name for name, batch in self.batches.items() if batch.study == study}
            for arm, value in row.study.arms.items():
                for used in value.batches:
                    _known(f"studies.{study}.study.arms.{arm}.batches", used, own)


def _known(where: str, name: str, names: Any) -> None:
    if name not in names:
        raise ValueError(f"{where}: no row named {name}; the rows are {sorted(names)}")


def parse(value: Any, where: str = "params.yaml") -> Params:
    """Parse a mapping; raises ParamsError with every wrong key, its place and what is expected there."""
    try:
        return TypeAdapter(Params).validate_python(value)
    except ValidationError as error:
        # a value that fits no part of a union is told once for each part
        told = dict.fromkeys(f"  {_told(e)}" for e in error.errors())
        raise ParamsError("\n".join([f"{where}:", *told])) from None


def _told(error: Any) -> str:
    place = ".".join(map(str, error["loc"])) or "(top level)"
    if error["loc"] and error["loc"][-1] in ("int", "literal['all']"):
        place = ".".join(map(str, error["loc"][:-1]))
        return f"{place}: expected a whole number, or all, got {str(error['input'])[:80]!r}"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: unknown key; remove it, or see `synthgate params` for the valid ones{_siblings(error['loc'])}"
    if error["type"] == "missing":
        return f"{place}: missing key; add it (src/synthgate/params.py says what it means)"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}, got {str(error['input'])[:80]!r}"


def _siblings(loc: tuple[Any, ...]) -> str:
    """The valid keys at the place of an unknown one, read from the dataclasses along the path."""
    kind: Any = Params
    for step in loc[:-1]:
        field = getattr(kind, "__dataclass_fields__", {}).get(step)
        if field is not None:
            kind = field.type
        args = getattr(kind, "__args__", ())
        if field is not None and args and getattr(kind, "__origin__", None) is not None:
            kind = args[-1]
    names = getattr(kind, "__dataclass_fields__", {})
    return f" here: {', '.join(names)}" if names else ""


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and parse a parameter file; raises ParamsError."""
    return parse(read(path), str(path))


def read(path: Path) -> Any:
    """The file's plain value; raises ParamsError where it is missing, is not YAML, or has a key twice."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing; run synthgate in the repository's root") from None
    except YAMLError as error:
        told = str(error).partition("\nTo suppress")[0].strip()  # ruamel's hint is for programmers
        raise ParamsError(f"{path} is not YAML: {told}") from None


def as_plain(value: Any) -> Any:
    """A parameter dataclass as JSON-able plain values."""
    return TypeAdapter(dict[str, Any]).dump_python(asdict(value), mode="json")
