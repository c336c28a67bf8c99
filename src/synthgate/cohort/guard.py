"""The guard of the phantom remote: nothing but the listed bytes of the phantom may lie in that tracked folder.

The remote is a folder of this repository, so whatever is pushed to it is published with the next commit. Adopted
patients must never get there: pre-commit, `make lint` and the public CI run `python -m synthgate.cohort.guard`.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from synthgate.files import write_text

REMOTE = Path("remotes/phantom")
LIST = Path("remotes/phantom.list")

# how DVC names a file, or the listing of a folder, by the MD5 of its content
_OBJECT = re.compile(r"files/md5/([0-9a-f]{2})/([0-9a-f]{30})(\.dir)?")


def present(remote: Path = REMOTE) -> list[str]:
    """Paths of all files (links too) below the remote, relative to it, sorted."""
    return sorted(p.relative_to(remote).as_posix() for p in remote.rglob("*") if p.is_symlink() or not p.is_dir())


def problems(remote: Path = REMOTE, listed: Path = LIST) -> list[str]:
    """One sentence for each file that is not listed, is listed and missing, or does not hold what its name says."""
    if not listed.is_file():
        return [f"{listed} is missing: it names the files that may lie in {remote}; restore it with git"]
    allowed = set(listed.read_text(encoding="utf-8").split())
    found = set(present(remote))
    told = [f"{remote / name}: not on {listed}; remove it, only the phantom may lie here" for name in found - allowed]
    told += [f"{remote / name}: on {listed} but missing; restore it with git" for name in allowed - found]
    told += [
        f"{remote / name}: {wrong}; restore it with git"
        for name in found & allowed
        if (wrong := _wrong(remote / name, name))
    ]
    return sorted(told)


def _wrong(file: Path, name: str) -> str | None:
    if file.is_symlink():
        return "expected a file, got a link"
    match = _OBJECT.fullmatch(name)
    if match is None:
        return "expected a name like files/md5/ab/cdef…, as DVC gives it"
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "md5").hexdigest()
    return None if content == match[1] + match[2] else f"its content has MD5 {content}, not that of its name"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong and return 1, or 0 where nothing is; `--write` makes the list from what is there."""
    parser = argparse.ArgumentParser(prog="python -m synthgate.cohort.guard", description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="make the list anew: only after simulating a new phantom")
    if parser.parse_args(arguments).write:
        write_text(LIST, "".join(f"{name}\n" for name in present()))
    told = problems()
    for line in told:
        print(line, file=sys.stderr)
    if not told:
        print(f"{REMOTE}: {len(present())} files, each on {LIST} and unaltered")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
