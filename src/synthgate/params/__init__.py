"""`params.yaml` as frozen dataclasses: parsed once, cross-checked, every key documented here.

A section has the name of the stage that reads it. `studies`, `generators` and `batches` hold rows: adding one takes no
code and no new stage.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from synthgate.errors import ParamsError
from synthgate.params.complaints import complaint
from synthgate.params.kinds import strict
from synthgate.params.making import (
    ALONE,
    KINDS,
    Batch,
    Compute,
    Diffusion,
    Fitting,
    Gan,
    Generator,
    Latent,
    Learned,
    Patients,
    Privacy,
    Public,
    Randomised,
)
from synthgate.params.steer import Steer, group_of
from synthgate.params.study import (
    GROUPS,
    Arm,
    Calibrate,
    Cohort,
    Encoder,
    Gate,
    OwnEncoder,
    Prepare,
    Probe,
    Release,
    Segmenter,
    Study,
    StudyRow,
)

__all__ = [
    "ALONE",
    "GROUPS",
    "KINDS",
    "Arm",
    "Batch",
    "Calibrate",
    "Cohort",
    "Compute",
    "Diffusion",
    "Encoder",
    "Fitting",
    "Gan",
    "Gate",
    "Generator",
    "Latent",
    "Learned",
    "OwnEncoder",
    "Params",
    "Patients",
    "Prepare",
    "Privacy",
    "Probe",
    "Public",
    "Randomised",
    "Release",
    "Segmenter",
    "Steer",
    "Study",
    "StudyRow",
    "as_plain",
    "group_of",
    "load",
    "parse",
    "read",
]


@dataclass(frozen=True, config=strict)
class Params:
    """All of `params.yaml`."""

    studies: Mapping[str, StudyRow]
    generators: Mapping[str, Generator]
    batches: Mapping[str, Batch]
    compute: Compute = ALONE

    def __post_init__(self) -> None:
        for name, generator in self.generators.items():
            _known(f"generators.{name}.study", generator.study, self.studies)
            size = self.studies[generator.study].prepare.size
            if isinstance(generator, Learned) and any(side % generator.multiple for side in size):
                raise ValueError(
                    f"generators.{name}: {len(generator.features)} levels on squares of {generator.patch} pixels need "
                    f"sides that are multiples of {generator.multiple}, but prepare.size is {list(size)}"
                )
        for name, batch in self.batches.items():
            _known(f"batches.{name}.study", batch.study, self.studies)
            _known(f"batches.{name}.generator", batch.generator, self.generators)
            other = self.generators[batch.generator].study
            if other != batch.study:
                raise ValueError(
                    f"batches.{name}: its generator {batch.generator} is of study {other}, not {batch.study}"
                )
            regions = self.studies[batch.study].cohort.regions
            if unknown := batch.steer.regions - set(regions):
                raise ValueError(
                    f"batches.{name}.steer: no region named {min(unknown)}; those of {batch.study} are {list(regions)}"
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
        told = dict.fromkeys(f"  {complaint(e, Params)}" for e in error.errors())
        raise ParamsError("\n".join([f"{where}:", *told])) from None


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
