"""Files that are either whole or absent, and their digests."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from synthgate.errors import ArtefactError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write a file or folder to; rename it to `path` when the block succeeds.

    If the block fails, what it wrote is removed and `path` keeps what it held.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # suffixes are kept, as nibabel and others choose the format by them; one name, so that what a killed run left goes
    beside, old = path.parent / f".half.{path.name}", path.parent / f".old.{path.name}"
    remove(beside)
    if old.exists() and not path.exists():
        old.rename(path)  # a run was killed between the two renames below
    remove(old)
    try:
        yield beside
        if not beside.exists():
            raise FileNotFoundError(f"nothing was written to {beside}; {path} stays as it was")
        if path.is_dir():
            path.rename(old)
            beside.rename(path)
            remove(old)
        else:
            beside.replace(path)
    finally:
        remove(beside)


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text to `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys (same value, same bytes); NaN is refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises ArtefactError naming the file where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing; run `dvc repro` to make it") from None
    except ValueError as error:
        raise ArtefactError(f"{path} is not readable JSON ({error}); remove it and run `dvc repro`") from error


def digest(path: Path, without: str = "") -> str:
    """SHA-256 of a file, or of a folder's relative names and contents, files called `without` left out."""
    path = Path(path)
    if path.is_dir():
        total = hashlib.sha256()
        for file in sorted(p for p in _files_in(path) if p.name != without):
            total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files_in(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files below a folder, also below folders that are links, which `rglob` passes over; a loop ends."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files_in(path, (*above, here))
        elif path.is_file():
            yield path


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def digest_all(paths: Iterable[Path]) -> str:
    """One SHA-256 for several files or folders, in the order given."""
    return digest_of([digest(path) for path in paths])
