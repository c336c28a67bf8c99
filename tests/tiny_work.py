"""What processes of test_devices do; as a script it starts two that wait, and write their ids to the given folder."""

import os
import sys
import time
from pathlib import Path

from synthgate.learning import devices
from synthgate.params import Compute

TWO = Compute(accelerator="cpu", devices=2)


def failing(rank: int) -> None:
    if rank == 1:
        raise ValueError("what went wrong")
    time.sleep(600)


def waiting(rank: int, folder: Path) -> None:
    (folder / f"{rank}.half").write_text(str(os.getpid()))
    (folder / f"{rank}.half").rename(folder / f"{rank}.pid")
    time.sleep(600)


if __name__ == "__main__":
    devices.on_each(waiting, TWO, Path(sys.argv[1]))
