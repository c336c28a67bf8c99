"""`synthgate doctor`: is this machine and this checkout fit for the road, and what will it take?"""

import configparser
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from synthgate import params, places
from synthgate.cohort import identity, splits
from synthgate.errors import CohortError, ParamsError
from synthgate.estimates import Estimate, estimate

PHANTOM_REMOTE = "phantom"
SWITCHES = ("BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "GX_ANALYTICS_ENABLED", "ITERATIVE_DO_NOT_TRACK")
OFF = {"BENTOML_DO_NOT_TRACK": "True", "GX_ANALYTICS_ENABLED": "false"}
GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One thing looked at. `fail` stops the road; `warn` does not."""

    grade: Literal["ok", "warn", "fail"]
    what: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.grade:4}  {self.what:12}  {self.detail}" + (f"  → {self.remedy}" if self.remedy else "")


def run(as_json: bool = False, root: Path = Path()) -> int:
    """Print the checks and the estimate; returns 0 where nothing fails, else 1."""
    checks = examine(root)
    expected = None
    if not any(check.grade == "fail" and check.what in ("params", "packages") for check in checks):
        expected = estimate(params.load(root / "params.yaml"), root)
        checks += resources(expected, root)
    print(as_text(checks, expected) if as_json else report(checks, expected))
    return int(any(check.grade == "fail" for check in checks))


def examine(root: Path = Path()) -> list[Check]:
    """Look at environment, checkout and data; quick, and nothing heavy is imported."""
    checks = [_python(), _packages(root), *_tools(), _repository(root), _telemetry(root), _remote(root)]
    try:
        loaded = params.load(root / "params.yaml")
    except ParamsError as error:
        return [*checks, Check("fail", "params", " ".join(str(error).split()), "correct params.yaml"), *_locks(root)]
    checks.append(Check("ok", "params", f"studies {', '.join(loaded.studies)}"))
    for study, row in loaded.studies.items():
        checks += _study(study, row.cohort.simulated, root)
    checks += _public(loaded, root)
    return [*checks, *_locks(root), _chromium()]


def resources(expected: Estimate, root: Path = Path()) -> list[Check]:
    """The machine against the estimate: processors, memory and disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = "a CUDA device" if expected.device == "cuda" else "no CUDA device: trainings run on the processor"
    free, disk = _free_memory(), shutil.disk_usage(root).free
    return [
        Check("ok" if cores > 1 else "warn", "processors", f"{cores} cores, {device}"),
        _enough("memory", free, expected.memory_bytes, "lower `batch` or `patch`, or close other programs"),
        _enough("disk", disk, expected.disk_bytes, "free space, or move DVC's cache: `dvc cache dir --local PATH`"),
    ]


def report(checks: Sequence[Check], expected: Estimate | None) -> str:
    """The checks, one line each, and the estimate."""
    lines = [str(check) for check in checks]
    if expected:
        lines += [
            "",
            f"Estimates for the whole road on this machine, stage after stage ({expected.device}); no promise:",
        ]
        lines += [f"  {name:32} {_time(value):>10}" for name, value in expected.seconds.items()]
        lines.append(f"  {'altogether':32} {_time(expected.total_s):>10}")
        lines += [f"  one training step, {name}: {value:.3f} s (measured)" for name, value in expected.steps_s.items()]
        lines += [f"  {name}: its data are not there, a typical cohort is assumed" for name in expected.assumed]
    failed, warned = (sum(check.grade == grade for check in checks) for grade in ("fail", "warn"))
    return "\n".join([*lines, "", f"{failed} failed, {warned} to look at"])


def as_text(checks: Sequence[Check], expected: Estimate | None) -> str:
    """The same as JSON."""
    shown = asdict(expected) | {"total_s": expected.total_s} if expected else None
    return json.dumps({"checks": [asdict(check) for check in checks], "estimate": shown}, indent=1, ensure_ascii=False)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info[:2] == (3, 11)
    return Check("ok" if ok else "fail", "python", found, "" if ok else "expected 3.11: `make setup PYTHON=python3.11`")


def _packages(root: Path) -> Check:
    from packaging.requirements import Requirement

    try:
        listed = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    except FileNotFoundError:
        return Check("fail", "packages", f"{root / 'pyproject.toml'} is missing", "run in the repository's root")
    wrong = []
    for wanted in map(Requirement, listed):
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found}, expected {wanted.specifier}")
    remedy = "`make setup`" if wrong else ""
    return Check(
        "fail" if wrong else "ok", "packages", "; ".join(wrong) or f"{len(listed)} as pyproject.toml asks", remedy
    )


def _tools() -> Iterator[Check]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for name, remedy in (("git", "install git"), ("dvc", "`make setup`, then put .venv/bin on PATH")):
        found = shutil.which(name, path=path)
        yield Check("ok", name, found) if found else Check("fail", name, "not found", remedy)


def _repository(root: Path) -> Check:
    if not (root / ".dvc").is_dir():
        return Check("fail", "repository", f"{root.resolve()} has no .dvc", "run in the root of a clone of synthgate")
    head = ["git", "-C", str(root), "rev-parse", "--verify", "-q", "HEAD"]
    if not shutil.which("git") or subprocess.run(head, capture_output=True, check=False).returncode:
        return Check("fail", "repository", "no git repository with a commit", "clone it, or `git init` and commit")
    return Check("ok", "repository", "git and DVC, with a commit")


def _config(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return config


def _telemetry(root: Path) -> Check:
    wrong = [name for name in SWITCHES if os.environ.get(name) != OFF.get(name, "1")]
    if _config(root).get("core", "analytics", fallback="true").lower() != "false":
        wrong.append("core.analytics of .dvc/config")
    remedy = "unset them, and `dvc config core.analytics false`" if wrong else ""
    return Check("warn" if wrong else "ok", "telemetry", ", ".join(["not off:", *wrong]) if wrong else "off", remedy)


def _remote(root: Path) -> Check:
    config = _config(root)
    default = config.get("core", "remote", fallback="")
    url = config.get(f"'remote \"{default}\"'", "url", fallback="")
    if default and PHANTOM_REMOTE in (default, Path(url).name):
        what = "the tracked folder of the phantom is DVC's default remote: `dvc push` would put patients into it"
        return Check("fail", "remote", what, "`dvc remote default --unset`, or name the site's own")
    return Check("ok", "remote", f"default {default}" if default else "no default; nothing is pushed by accident")


def _study(study: str, simulated: bool, root: Path) -> Iterator[Check]:
    here = (root / places.data(study) / "cases.csv").is_file()
    remedy = "" if here else "`dvc pull`, or `synthgate adopt` a data set"
    yield Check(
        "ok" if here else "fail", f"data {study}", str(places.data(study)) + ("" if here else " is missing"), remedy
    )
    try:
        count = len(splits.read(root / places.splits(study)))
        yield Check("ok", f"splits {study}", f"{count} patients")
    except CohortError as error:
        yield Check("fail", f"splits {study}", str(error), "see there")
    try:
        identity.key_for(study, simulated, root=root)
        yield Check("ok", f"key {study}", "public, the patients are simulated" if simulated else "present")
    except CohortError as error:
        yield Check("fail", f"key {study}", str(error), "see there")


def _public(loaded: params.Params, root: Path) -> Iterator[Check]:
    for name, row in loaded.generators.items():
        if isinstance(row, params.Diffusion) and row.privacy and (source := row.privacy.public):
            here = (root / source.folder).is_dir()
            detail, remedy = (
                source.folder + ("" if here else " is missing"),
                "" if here else "bring it (docs/private.md)",
            )
            yield Check("ok" if here else "fail", f"public {name}", detail, remedy)


def _locks(root: Path) -> Iterator[Check]:
    for path in sorted((root / ".scratch").glob("*/lock")):
        with path.open("r+", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = stream.read().strip() or "unknown"
                yield Check("warn", "lock", f"{path.parent} is in use by process {holder}", f"wait, or `kill {holder}`")


def _chromium() -> Check:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return Check("ok", "chromium", found or "not found; only pictures of reports would need it")


def _enough(what: str, free: int | None, need: int, remedy: str) -> Check:
    if free is None:
        return Check("warn", what, f"about {need / GIB:.1f} GiB needed, how much is free cannot be told here")
    ok = free > need
    detail = f"{free / GIB:.1f} GiB free, about {need / GIB:.1f} GiB needed (estimate)"
    return Check("ok" if ok else "fail", what, detail, "" if ok else remedy)


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
