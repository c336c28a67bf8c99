"""One script per stage of dvc.yaml: read the parameters, call the library, write the outs."""

import gc
import multiprocessing
import sys
from collections.abc import Callable

from synthgate.errors import SynthgateError

if multiprocessing.current_process().name == "MainProcess":  # a device's own process calls no stage
    # importing makes a million objects and no rubbish: a collector only takes time
    gc.disable()


def stage(main: Callable[..., None]) -> None:
    """Run a stage on the names given to it; an error that a user can act upon is one message and exit code 1."""
    gc.freeze()
    gc.enable()
    try:
        main(*sys.argv[1:])
    except SynthgateError as error:
        sys.exit(f"synthgate: {error}")
