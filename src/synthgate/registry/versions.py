"""Which registered versions a release folder is: GTO's Git tags, compared by content.

`gto register NAME --version v1.0.0` tags a commit `NAME@v1.0.0`, whose `dvc.lock` pins the release by DVC's hash. A
folder is that version if its files have that hash, whatever is checked out around it.
"""

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

UNREGISTERED = "unregistered"
"""Said where no registered version has the content that is served."""
TAG = re.compile(r"^(?P<name>[^@#]+)@v(?P<number>\d+\.\d+\.\d+)(?P<extra>[-+][^!#]+)?(?P<gone>!)?(#\d+)?$")
"""GTO's tag of a version; with `!` it takes the registration back."""


def of(folder: Path, artifact: str) -> tuple[str, ...]:
    """The tags, highest version first, under which this release of `artifact` is registered; empty outside Git."""
    folder = Path(folder).resolve()
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or not folder.is_dir():
        return ()
    root = Path(top.strip()).resolve()
    wanted = (folder.relative_to(root).as_posix(), dvc_hash(folder))
    return tuple(tag for tag in registered(root, artifact) if wanted in _outs(root, tag))


def version(tags: tuple[str, ...]) -> str:
    """The version to name where one is wanted: `v1.0.0` of the highest tag, or "unregistered"."""
    return tags[0].partition("@")[2].partition("#")[0] if tags else UNREGISTERED


def registered(root: Path, artifact: str) -> list[str]:
    """All tags of `artifact`'s registered versions, highest first; those taken back are left out."""
    listing = _git(
        root, "for-each-ref", "--sort=refname", "--sort=creatordate", "--format=%(refname:strip=2)", "refs/tags"
    )
    found: dict[str, tuple[Any, str]] = {}
    for tag in (listing or "").split():
        match = TAG.match(tag)
        if match is None or match["name"] != artifact:
            continue
        number = match["number"] + (match["extra"] or "")
        found.pop(number, None)
        if not match["gone"]:
            found[number] = (_order(match["number"], match["extra"] or ""), tag)
    return [tag for _, tag in sorted(found.values(), reverse=True)]


def dvc_hash(folder: Path) -> str:
    """The folder's hash as `dvc.lock` states it: MD5 of the list of its files' MD5s."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    listing = [{"md5": _md5(names[name].read_bytes()), "relpath": name} for name in sorted(names, key=_parts)]
    return _md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _parts(name: str) -> tuple[str, ...]:
    return tuple(name.split("/"))


def _order(number: str, extra: str) -> tuple[tuple[int, ...], bool, str]:
    # a pre-release (v1.0.0-rc1) comes before its version
    return tuple(map(int, number.split("."))), not extra.startswith("-"), extra


def _outs(root: Path, tag: str) -> set[tuple[str, str]]:
    """(path, hash) of every out in the tag's `dvc.lock`."""
    import yaml

    lock = yaml.safe_load(_git(root, "show", f"refs/tags/{tag}:dvc.lock") or "") or {}
    outs = [out for stage in lock.get("stages", {}).values() for out in stage.get("outs", [])]
    return {(out["path"], out.get("md5", "")) for out in outs}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers; None where there is no repository, no git or no such object."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
