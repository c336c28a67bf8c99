"""What a batch is asked for, beyond its size: `batches.<name>.steer`. Nothing is steered that is not named."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgate.params.kinds import Count, Share, strict

Hemisphere = Literal["left", "right"]
Lobe = Literal["frontal", "parietal", "temporal", "occipital", "deep", "infratentorial"]
NARROWEST = 1.2
"""Least ratio of a volume range's ends: a lesion cannot be made to fit a narrower one."""


@dataclass(frozen=True, config=strict)
class Steer:
    """Shares are of the batch's cases, and sum to 1 in each mapping; they are kept to as a quota, not tossed for."""

    volume_ml: Mapping[str, tuple[Annotated[float, Field(gt=0)], float]] = field(default_factory=dict)
    """Region → lowest and highest total volume of a case, {WT: [0.5, 3]}; even in log volume between them.

    In ml; where the cohort's voxel size is unknown, in thousands of voxels of the prepared grid.
    """
    hemisphere: Mapping[Hemisphere, Share] = field(default_factory=dict)
    """The patient's left or right → share: {left: 1}. A lesion is where most of it is, each of several lesions."""
    lobe: Mapping[Lobe, Share] = field(default_factory=dict)
    """Lobe by the coarse atlas of docs/steering.md → share: {temporal: 0.5, frontal: 0.5}."""
    absent: Mapping[str, Share] = field(default_factory=dict)
    """Sub-region → share of cases without it: {ET: 1} no case enhances, {ET: 0} every case does."""
    lesions: Mapping[Count, Share] = field(default_factory=dict)
    """Number of separate lesions → share: {1: 0.5, 2: 0.5}."""
    attributes: Mapping[str, Mapping[str, Share]] = field(default_factory=dict)
    """Attribute → group → share: {site: {B: 1}, age: {"50..70": 0.5, "70..": 0.5}}; what the gate's fairness tests.

    A group is a value, or a band of numbers: from the lower bound on, up to but not with the upper one.
    """

    def __post_init__(self) -> None:
        for region, (low, high) in self.volume_ml.items():
            if high < NARROWEST * low:
                raise ValueError(
                    f"volume_ml.{region}: expected [lowest, highest], the highest at least {NARROWEST} times the "
                    f"lowest, got {[low, high]}"
                )
        shares: dict[str, Mapping[str, float]] = {f"attributes.{name}": one for name, one in self.attributes.items()}
        shares |= {name: {str(k): v for k, v in getattr(self, name).items()} for name in SHARED if getattr(self, name)}
        for where, one in shares.items():
            if abs(sum(one.values()) - 1) > 1e-6:
                raise ValueError(f"{where}: shares must sum to 1, got {dict(one)}")
        for name, groups in self.attributes.items():
            for group in groups:
                _bounds(group, f"attributes.{name}")

    @property
    def regions(self) -> set[str]:
        """The regions it names."""
        return {*self.volume_ml, *self.absent}


SHARED = ("hemisphere", "lobe", "lesions")


def group_of(value: str, groups: Iterable[str]) -> str | None:
    """The group that a value belongs to: the one of its name, else the first band around it; None where none is."""
    groups = list(groups)
    if value in groups:
        return value
    try:
        number = float(value)
    except ValueError:
        return None
    bands = ((group, _bounds(group, "a group")) for group in groups)
    return next((group for group, band in bands if band and band[0] <= number < band[1]), None)


def _bounds(group: str, where: str) -> tuple[float, float] | None:
    """Lower and upper bound of a band; None for a name. Raises ValueError for a band that holds nothing."""
    low, dots, high = group.partition("..")
    if not dots:
        return None
    try:
        found = float(low or "-inf"), float(high or "inf")
    except ValueError:
        return None
    if not found[0] < found[1]:
        raise ValueError(f"{where}: expected a band such as 50..70 or 70.., got {group!r}")
    return found
