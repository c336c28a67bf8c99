"""Scratch folders: where long work keeps what it has done, so that a killed run continues.

DVC deletes a stage's outs before the stage runs, so unfinished work lives in `.scratch/`, in a folder keyed by
everything the result depends on. The folder is locked while a process works in it: a stage that survived a killed
`dvc` makes the next `dvc repro` wait for it instead of working beside it.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from synthgate.errors import BusyError
from synthgate.files import digest_all, digest_of, remove, replacing

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent


class Scratch:
    """A locked folder of finished pieces of one piece of long work. Open it with `opened`.

    One that follows waits for the pieces that another machine makes in the same folder.
    """

    def __init__(self, path: Path, follows: bool = False) -> None:
        self.path, self.follows = path, follows

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        name: str,
        key: Mapping[str, Any],
        *,
        rooms: tuple[str, ...] = ("",),
        root: Path = Path(".scratch"),
        wait_s: float = 3600.0,
        follows: bool = False,
    ) -> Iterator["Scratch"]:
        """Lock `name` and yield the folder `root/name/<digest>`; the digest is of `key` and of the code in `rooms`.

        `key` holds all that the result depends on: parameters and the digests of inputs (`cards.inputs_of`); `rooms`
        are the folders of this package whose code it depends on, all of them by default. What other keys left is
        removed. Waits up to `wait_s` seconds for another process that works under this name, then raises BusyError
        naming its process id. One that follows neither locks nor removes.
        """
        home = root / name
        code = [file for room in rooms for file in sorted((PACKAGE / room).rglob("*.py"))]
        path = home / digest_of([key, digest_all(code)])[:16]
        if follows:
            path.mkdir(parents=True, exist_ok=True)
            yield cls(path, follows)
            return
        with locked(home / "lock", wait_s):
            for stale in home.iterdir():
                if stale.is_dir() and stale != path:
                    remove(stale)
            path.mkdir(exist_ok=True)
            yield cls(path)

    def within(self, name: str) -> "Scratch":
        """A scratch folder inside this one, under the same lock."""
        (self.path / name).mkdir(exist_ok=True)
        return Scratch(self.path / name, self.follows)

    def once(self, name: str, make: Callable[[Path], Any]) -> Path:
        """Path of the piece `name` (a file or folder); `make(beside)` writes it unless an earlier run finished it."""
        piece = self.path / name
        while self.follows and not piece.exists():
            time.sleep(0.2)
        if not piece.exists():
            with replacing(piece) as beside:
                make(beside)
        return piece


@contextlib.contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`; the kernel releases it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        deadline = time.monotonic() + wait_s
        told = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"{path.parent} is in use by process {holder}, waited {wait_s:.0f} s; "
                        f"wait for that process to finish, or end it (kill {holder}) and run the same command again"
                    ) from None
                if not told:
                    log.warning("waiting for process %s, which works in %s", holder, path.parent)
                    told = True
                time.sleep(0.2)
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield
