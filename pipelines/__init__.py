"""One script per stage of dvc.yaml: read the parameters, call the library, write the outs."""

import sys
from collections.abc import Callable

from synthgate.errors import SynthgateError


def stage(main: Callable[..., None]) -> None:
    """Run a stage on the names given to it; an error that a user can act upon is one message and exit code 1."""
    try:
        main(*sys.argv[1:])
    except SynthgateError as error:
        sys.exit(f"synthgate: {error}")
