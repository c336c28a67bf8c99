"""`data.dvc`: pins what lies in `data/`, and must never lead real patients into the phantom's remote."""

import configparser
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from synthgate.errors import CohortError
from synthgate.files import replacing

PHANTOM = "phantom"
"""The remote inside the repository. Whatever lies in it is in git, so only simulated patients may."""


def dvc(root: Path, *arguments: str) -> str:
    """Run dvc in `root`; its output, or CohortError with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[-1500:]
        raise CohortError(f"`dvc {' '.join(arguments)}` failed in {root.resolve()}:\n{said}")
    return done.stdout


def require(root: Path, simulated: bool, remote: str | None) -> None:
    """Refuse a root that dvc does not know, and remotes that would lead real patients into git."""
    if not (root / ".dvc").is_dir():
        raise CohortError(f"{root.resolve()}: expected a DVC repository; run `git init` and `dvc init` there")
    default, names = remotes(root)
    if remote is not None and (remote not in names or (remote == PHANTOM and not simulated)):
        allowed = [name for name in names if simulated or name != PHANTOM]
        what = f"no remote {remote!r} for this cohort; there are {', '.join(allowed) or 'none'}"
        raise CohortError(f"{root / '.dvc/config'}: {what}; add it by `dvc remote add NAME URL`")
    if default == PHANTOM and not simulated:
        what = "the default remote is the phantom's, which is kept in git, and `dvc push` would put real patients there"
        raise CohortError(f"{root / '.dvc/config'}: {what}; make the site's own the default: `dvc remote default NAME`")


def remotes(root: Path) -> tuple[str | None, list[str]]:
    """The default remote's name and all names, from the repository's configuration."""
    config = configparser.ConfigParser(strict=False, interpolation=None)
    config.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    names = [name.strip("'\"").removeprefix("remote ").strip("\"'") for name in config.sections() if "remote " in name]
    return config.get("core", "remote", fallback=None), names


def pull(root: Path, others: list[str]) -> None:
    """Fetch what `data.dvc` pins where `data/` is not here; `others` are the studies that must be here afterwards."""
    data = root / "data"
    missing = [study for study in others if not (data / study).is_dir()]
    if not (root / "data.dvc").is_file() or (data.is_dir() and not missing):
        return
    try:
        dvc(root, "pull", "data.dvc")
    except CohortError as error:
        # the study that is replaced may be out of reach; others would drop out of data.dvc
        if missing := [study for study in others if not (data / study).is_dir()]:
            raise CohortError(
                f"{data}: the data of {', '.join(missing)} is not here and would drop out of data.dvc; "
                f"bring it by `dvc pull` first\n{error}"
            ) from None


def name_remote(root: Path, remote: str | None) -> None:
    """Write the remote of `data/` into `data.dvc`, or take out the one that stands there."""
    path = root / "data.dvc"
    if not path.is_file():
        return
    yaml = YAML()
    value: Any = yaml.load(path.read_text(encoding="utf-8"))
    out = value["outs"][0]
    if out.get("remote") == remote:
        return
    out.pop("remote", None)
    if remote is not None:
        out["remote"] = remote
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as stream:
        yaml.dump(value, stream)


def add(root: Path) -> None:
    """Pin `data/` as it is now."""
    dvc(root, "add", "data")
