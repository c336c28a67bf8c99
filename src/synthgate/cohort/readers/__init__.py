"""Readers turn the field's own layouts into a `Source`, without copying anything by hand."""

from importlib import import_module
from pathlib import Path

from synthgate.cohort.case import Source
from synthgate.errors import CohortError

LAYOUTS = {"cohort": "cohort_folder", "batch": "batch_folder", "brats": "brats", "lgg": "lgg"}
"""Layout → the module that reads it; each has `read(source) -> Source`."""


def read(source: Path, layout: str) -> Source:
    """List the cases of a source; pixels are read later, by `Case.load`.

    Raises CohortError for an unknown layout and for a source that is not a folder.
    """
    if layout not in LAYOUTS:
        raise CohortError(f"{source}: no layout {layout!r}; the layouts are {', '.join(LAYOUTS)}")
    if not Path(source).is_dir():
        raise CohortError(f"{source}: expected a folder, there is none; check the path")
    return import_module(f"synthgate.cohort.readers.{LAYOUTS[layout]}").read(Path(source))
