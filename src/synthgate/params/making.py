"""Rows of `generators` and `batches`: what makes synthetic images, and what it is asked for."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgate.params.kinds import Count, strict


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
