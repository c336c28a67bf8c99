"""`adopt`: a data set becomes `data/<study>`: checked, rewritten as a cohort folder, split, declared and pinned.

Whatever is wrong is told before anything changes. Each step leaves a whole state behind, and the same command run
again finishes what an interrupted one began.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgate import params
from synthgate.cohort import checks, declare, folder, headers, identity, readers, splits, track
from synthgate.cohort.case import Problem, Source
from synthgate.cohort.readers.cohort_folder import read_facts
from synthgate.errors import CohortError, ParamsError
from synthgate.files import digest_of, remove, replacing, write_json
from synthgate.params import Cohort
from synthgate.progress import tracked
from synthgate.scratch import locked


@dataclass(frozen=True)
class Plan:
    """What an adoption would write, worked out before anything is written."""

    source: Source
    cohort: Cohort
    size: tuple[int, int]
    facts: dict[str, Any]
    """Content of `source.json`."""
    strata: dict[str, str]
    """Patient id → stratum, in the order of adoption."""
    bearing: set[str]
    """Patient ids with a lesion."""
    fresh: bool
    """True where the splits table begins anew: there is none, or it is of simulated patients (or these are)."""


def adopt(
    source: Path, layout: str, study: str, *, root: Path = Path(), dry_run: bool = False, remote: str | None = None
) -> list[Problem]:
    """Make a source the data of a study; returns the flags and notes, and with `dry_run` the faults too.

    Writes `data/<study>`, `splits/<study>.csv`, the study's section of `params.yaml` and `data.dvc`, and makes the
    site's key `.synthgate/<study>.key` at a study's first real cohort. `remote` names the DVC remote of `data/`. Raises
    CohortError with the whole list of problems where one is a fault; then nothing has changed.
    """
    source, root = Path(source), Path(root)
    target = root / "data" / study
    with contextlib.nullcontext() if dry_run else _alone(root):
        row = _row(root, study)
        in_place = _in_place(source, target, root, layout)
        problems, plan = _plan(source, layout, row, _table_path(root, study), dry_run)
        if plan is not None:
            problems += _try_split(plan, study, root)
        if dry_run:
            return problems
        if plan is None or any(p.grade == "fault" for p in problems):
            count = sum(p.grade == "fault" for p in problems)
            told = "\n".join(map(str, problems))
            raise CohortError(f"{source}: {count} faults; nothing was changed\n{told}")
        track.require(root, plan.cohort.simulated, remote)
        text = declare.edited(root / "params.yaml", study, plan.cohort, plan.size)
        _write(plan, study, root, target, text, in_place, remote)
    return problems + _closing(root, plan, remote)


def _row(root: Path, study: str) -> params.StudyRow:
    rows = params.load(root / "params.yaml").studies
    if study not in rows:
        raise ParamsError(
            f"params.yaml: studies has no row {study!r}; the rows are {', '.join(rows)}; add one or name one"
        )
    return rows[study]


def _table_path(root: Path, study: str) -> Path:
    return root / "splits" / f"{study}.csv"


def _in_place(source: Path, target: Path, root: Path, layout: str) -> bool:
    """True where a study's own folder is adopted again; any other place inside `data/` is refused."""
    here, data = source.resolve(), (root / "data").resolve()
    if here == target.resolve() and layout == "cohort":
        return True
    if here == data or data in here.parents or here in target.resolve().parents:
        what = f"the source lies in {data}, or around it, where adopt writes"
        raise CohortError(f"{source}: {what}; move it out of there (only data/<study> itself may be adopted in place)")
    return False


def _plan(
    path: Path, layout: str, row: params.StudyRow, table: Path, dry_run: bool
) -> tuple[list[Problem], Plan | None]:
    """Read and check the source; no plan where its cases cannot be read."""
    source = readers.read(path, layout)
    found = checks.examine(source)
    if not found.boxes or any(p.grade == "fault" for p in found.problems):
        return found.problems, None
    facts = read_facts(path) if layout == "cohort" else {}
    simulated = facts.get("simulated") is True
    cohort = declare.cohort_of(row, source, found.values, simulated)
    facts = {"layout": layout, "files": _listing(path)} | facts
    facts |= {"simulated": simulated, "terms": list(source.terms), "flags": found.flags, "labels": list(source.labels)}
    strata: dict[str, str] = {}
    bearing = {case.patient_id for case in source.cases if case.case_id in found.bearing}
    for case in source.cases:
        of_case = [case.attributes.get(name, "") for name in cohort.strata]
        strata.setdefault(case.patient_id, "|".join([*of_case, "lesion" if case.patient_id in bearing else "none"]))
    size = row.prepare.size if simulated else declare.size_of(found.boxes)
    fresh = not table.is_file() or simulated != row.cohort.simulated
    return found.problems, Plan(source, cohort, size, facts, strata, bearing, fresh)


def _listing(path: Path) -> str:
    """Digest of the names and sizes of the source's files: says which copy it was without naming a patient."""
    return digest_of(sorted([p.relative_to(path).as_posix(), p.stat().st_size] for p in path.rglob("*") if p.is_file()))


def _split(plan: Plan, table: Path, key: bytes) -> dict[str, str]:
    """The splits table with this cohort's patients; raises CohortError where a split would have no lesion."""
    names = {patient: identity.pseudonym(key, patient) for patient in plan.strata}
    old = {} if plan.fresh else splits.read(table)
    new = splits.extend(old, [(names[p], stratum) for p, stratum in plan.strata.items()], plan.cohort)
    splits.require_lesions(new, {names[p] for p in plan.bearing}, str(table))
    return new


def _try_split(plan: Plan, study: str, root: Path) -> list[Problem]:
    """Split without writing; who goes where does not depend on the key, so a first adoption needs none yet."""
    table = _table_path(root, study)
    try:
        key = b"not yet made" if plan.fresh else identity.key_for(study, plan.cohort.simulated, root=root)
        new = _split(plan, table, key)
    except CohortError as error:
        what, _, remedy = str(error).removeprefix(f"{table}: ").rpartition("; ")
        return [Problem("fault", str(table), what, remedy)]
    gone = len(new) - len(plan.strata)
    if not gone:
        return []
    what = f"{gone} patients of the table are not in this source; they keep their place, and nobody else moves"
    return [Problem("note", str(table), what, "none needed")]


def _write(plan: Plan, study: str, root: Path, target: Path, text: str, in_place: bool, remote: str | None) -> None:
    track.pull(root, [p.stem for p in sorted((root / "splits").glob("*.csv")) if p.stem != study])
    if not plan.cohort.simulated:
        track.name_remote(root, None)  # before the first real patient lies in data/
    key = identity.key_for(study, plan.cohort.simulated, create=plan.fresh, root=root)
    table = _split(plan, _table_path(root, study), key)
    write_cohort(target, plan.source, plan.facts)
    splits.write(_table_path(root, study), table)
    # last before pinning: until the row says so, a repeated run begins the splits of a first real cohort anew
    declare.write(root / "params.yaml", text)
    track.add(root)
    track.name_remote(root, remote or _own_remote(root))


def write_cohort(target: Path, source: Source, facts: dict[str, Any]) -> None:
    """Write a source as a cohort folder, whole or not at all; what identifies beside the pixels stays behind."""
    columns = {name for case in source.cases for name in case.attributes}
    dropped = set(headers.in_columns(sorted(columns)))
    rows = []
    with replacing(target) as beside:
        for case in tracked(source.cases, len(source.cases), "writing", "cases"):
            folder.write_case(beside, case.case_id, case.load())
            kept = {name: value for name, value in case.attributes.items() if name not in dropped}
            rows.append({"case_id": case.case_id, "patient_id": case.patient_id, **kept})
        folder.write_table(beside, rows)
        write_json(beside / folder.SOURCE, facts)


def _own_remote(root: Path) -> str | None:
    """The phantom's remote where everything in `data/` is simulated and there is such a remote; else none."""
    studies = [p for p in sorted((root / "data").iterdir()) if p.is_dir()]
    simulated = all(read_facts(p).get("simulated") is True for p in studies)
    return track.PHANTOM if simulated and track.PHANTOM in track.remotes(root)[1] else None


def _closing(root: Path, plan: Plan, remote: str | None) -> list[Problem]:
    """What the person who adopted has to do next."""
    if plan.cohort.simulated or remote is not None:
        return []
    remedy = (
        "configure the site's own, `dvc remote add -d NAME URL`, then `dvc push`; commit data.dvc, splits/, params.yaml"
    )
    return [Problem("note", str(root / "data.dvc"), "it pins real patients now and names no remote", remedy)]


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one adopt work at a time, and clear what a killed one left: the old folder returns, half a new one goes."""
    with locked(root / ".synthgate" / "adopt.lock", wait_s=5):
        left = defaultdict(list)
        for path in (root / "data").glob(".*"):
            if found := re.fullmatch(r"\.\d+\.(half|old)\.(.+)", path.name):
                left[found[1]].append((path, root / "data" / found[2]))
        for path, target in left["old"]:
            if target.exists():
                remove(path)
            else:
                path.rename(target)
        for path, _ in left["half"]:
            remove(path)
        yield
