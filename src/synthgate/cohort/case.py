"""A case: one imaging study of one patient; and the contract every reader fulfils."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Grade = Literal["fault", "flag", "note"]


@dataclass(frozen=True)
class Volume:
    """The pixels of a case.

    `images` maps a channel to [x, y, z] float32; `label` is [x, y, z] uint8 or None; `affine` is 4x4, voxel → mm (RAS).
    Where `spacing_known` is False the affine gives directions only, and lengths are in voxels.
    """

    images: Mapping[str, np.ndarray]
    label: np.ndarray | None
    affine: np.ndarray
    spacing_known: bool = True


@dataclass(frozen=True)
class Case:
    """One imaging study of one patient, with its pixels still on disk; `load` reads them (raises CohortError)."""

    case_id: str
    patient_id: str
    where: str
    """The folder or file it stands in, for messages."""
    load: Callable[[], Volume]
    attributes: Mapping[str, str] = field(default_factory=dict)
    """site, sex, age and other columns, as text; a missing value is absent."""


@dataclass(frozen=True)
class Problem:
    """Something wrong or odd in a source. Only faults stop; flags mark a stratum; notes inform."""

    grade: Grade
    where: str
    """File or folder, and the case where there is one."""
    what: str
    """What was expected and what came."""
    remedy: str

    def __str__(self) -> str:
        return f"{self.grade}: {self.where}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Source:
    """What a reader found: cases in a stable order, and the problems it saw while listing them."""

    cases: list[Case]
    problems: list[Problem]
    channels: tuple[str, ...]
    labels: tuple[int, ...]
    """The label values the layout allows, background 0 excluded."""
    terms: tuple[str, ...] = ()
