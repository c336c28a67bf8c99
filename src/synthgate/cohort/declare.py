"""What a new cohort changes in `params.yaml`: the study's `cohort` section, and the sizes its images ask for."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from synthgate import params
from synthgate.cohort.case import Source
from synthgate.files import write_text
from synthgate.params import Cohort, StudyRow

LARGEST = 96
"""Longest side of the in-plane grid that adopt chooses; larger heads are scaled down."""
BRATS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}


def cohort_of(row: StudyRow, source: Source, values: set[int], simulated: bool) -> Cohort:
    """The study's cohort section for a source in which the label values `values` occur.

    What the section says already is kept where it fits: the order of the channels, the regions, the strata, the shares.
    """
    old = row.cohort
    channels = old.channels if set(old.channels) == set(source.channels) else source.channels
    regions = (
        old.regions if values and values <= set(old.labels) <= set(source.labels) else regions_of(source.labels, values)
    )
    known = {name for case in source.cases for name in case.attributes}
    strata = tuple(name for name in old.strata if name in known) or (("site",) if "site" in known else ())
    return replace(old, simulated=simulated, channels=channels, regions=regions, strata=strata)


def regions_of(labels: Sequence[int], values: Iterable[int]) -> dict[str, tuple[int, ...]]:
    """WT ⊇ TC ⊇ ET for BraTS labels, WT alone for label 1; else one region of all values and one of each."""
    present = tuple(sorted(values)) or tuple(labels)
    if present == (1,):
        return {"WT": (1,)}
    if set(labels) == {1, 2, 4}:
        return dict(BRATS)
    return {"all": present, **{f"label-{value}": (value,) for value in present if len(present) > 1}}


def size_of(boxes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """In-plane grid for heads of these sides (x, y) in voxels: 95 % fit unscaled, or scaled to a side of LARGEST."""
    sides = np.percentile(np.array(boxes), 95, axis=0)
    sides *= min(1.0, LARGEST / sides.max())
    x, y = (max(16, int(np.ceil(side / 16)) * 16) for side in sides)
    return x, y


def edited(path: Path, study: str, cohort: Cohort, size: tuple[int, int]) -> str:
    """The text of the parameter file with the study's cohort and sizes set; its comments stay. Raises ParamsError."""
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    value = yaml.load(path.read_text(encoding="utf-8"))
    row = value["studies"][study]
    section = row["cohort"]
    section["simulated"] = cohort.simulated
    _set(section, "channels", list(cohort.channels))
    _set(section, "strata", list(cohort.strata))
    _set(section, "regions", {name: list(values) for name, values in cohort.regions.items()})
    _set(row["prepare"], "size", list(size))
    for part in (row["calibrate"]["segmenter"], row["study"]["segmenter"]):
        if part["spatial_dims"] == 2:
            _set(part, "patch", list(size))
    text = io.StringIO()
    yaml.dump(value, text)
    params.parse(YAML(typ="safe").load(text.getvalue()), str(path))
    return text.getvalue()


def write(path: Path, text: str) -> None:
    """Write the parameter file, unless it says so already."""
    if path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _set(section: CommentedMap, key: str, new: Any) -> None:
    """Set a short value in flow style; an equal one is left as it was written."""
    if section.get(key) != new:
        section[key] = _flow(new)


def _flow(value: Any) -> Any:
    if isinstance(value, Mapping):
        result: Any = CommentedMap({key: _flow(part) for key, part in value.items()})
    elif isinstance(value, list):
        result = CommentedSeq(value)
    else:
        return value
    result.fa.set_flow_style()
    return result
