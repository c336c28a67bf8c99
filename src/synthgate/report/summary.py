"""What was decided and where to look, in a few lines: from the reports that the stages wrote."""

from collections.abc import Callable, Iterator
from typing import Any

from synthgate import places
from synthgate.errors import ArtefactError
from synthgate.files import read_json
from synthgate.gate.verdict import VERSION, expired
from synthgate.params import Params

NOTICE = "Research use only."


def summary(params: Params) -> str:
    """The closing lines of `make repro`: per study its verdicts, arms and release. Stages not run yet are named."""
    return _by_study(params, _verdicts, _arms, _release)


def batches(params: Params) -> str:
    """The verdicts alone, with their reasons and where to look, for people."""
    return _by_study(params, _verdicts)


def verdicts(params: Params) -> dict[str, Any]:
    """Batch → its `verdict.json`; raises ArtefactError where one is missing."""
    return {name: read_json(places.gate(batch.study, name) / "verdict.json") for name, batch in params.batches.items()}


def markdown(params: Params) -> str:
    """The verdicts and releases as Markdown, for a merge request."""
    lines = ["| batch | verdict | reasons |", "| --- | --- | --- |"]
    for name, found in verdicts(params).items():
        lines.append(f"| {name} | **{_told(found)}** | {'<br>'.join(found['reasons']) or '–'} |")
    for study in params.studies:
        lines += ["", *(line.strip() for line in _release(params, study))]
    return "\n".join([*lines, "", f"_{NOTICE}_"])


def refused(params: Params) -> list[tuple[str, str]]:
    """(verdict, sentence) for each batch that a release candidate uses in a share its verdict does not allow."""
    found = verdicts(params)
    sentences = []
    for study, row in params.studies.items():
        for arm in row.release.candidates:
            for batch, share in row.study.arms[arm].batches.items():
                if expired(found[batch]) or share > found[batch]["proportion"]:
                    why = " ".join(found[batch]["reasons"])
                    told = f"{study}: candidate {arm} takes {share:g} of its training from {batch}"
                    sentence = f"{told}, which is {_told(found[batch])}. {why}".strip()
                    sentences.append((found[batch]["verdict"], sentence))
    return sentences


def _by_study(params: Params, *parts: Callable[[Params, str], Iterator[str]]) -> str:
    lines = []
    for study, row in params.studies.items():
        kind = "simulated patients" if row.cohort.simulated else "real patients"
        lines += ["", f"Study {study} ({kind})", *(line for part in parts for line in part(params, study))]
    return "\n".join([*lines, "", NOTICE])


def _verdicts(params: Params, study: str) -> Iterator[str]:
    for name, batch in params.batches.items():
        if batch.study != study:
            continue
        folder = places.gate(study, name)
        try:
            found = read_json(folder / "verdict.json")
        except ArtefactError:
            yield f"  batch {name}: not judged yet"
            continue
        yield f"  batch {name}: {_told(found)}"
        yield from (f"    - {reason}" for reason in found["reasons"])
        yield f"    see {folder}/verdict.json and {folder}/report"


def _told(found: dict[str, Any]) -> str:
    if expired(found):
        return f"expired (judged by version {found.get('version')} of the gate, this is {VERSION}; run `dvc repro`)"
    limited = found["verdict"] == "limited"
    return f"limited to {found['proportion']:g} of a training" if limited else str(found["verdict"])


def _arms(params: Params, study: str) -> Iterator[str]:
    row = params.studies[study]
    path = places.reports("study", study) / "metrics.json"
    if not path.is_file():
        yield "  study: not run yet"
        return
    yield f"  Dice on validation (mean, {row.study.confidence:.0%} interval over patients)"
    for arm, regions in read_json(path).items():
        cells = [f"{region} {_interval(regions[region])}" for region in row.cohort.regions]
        primary = regions[next(iter(row.cohort.regions))]
        against = f"   {primary['outcome']} against {primary['against']}" if "outcome" in primary else ""
        yield f"    {arm:18} {'  '.join(cells)}{against}"
    yield f"    see {path.parent}, `dvc metrics show`, `dvc plots show`"


def _interval(found: dict[str, Any]) -> str:
    if not isinstance(found["dice"], float):
        return str(found["dice"])
    return f"{found['dice']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _release(params: Params, study: str) -> Iterator[str]:
    path = places.reports("release", study) / "metrics.json"
    if not path.is_file():
        yield "  release: none yet"
        return
    found, regions = read_json(path), params.studies[study].cohort.regions
    yield f"  {found['decision']}"
    cells = [f"{region} {_interval(value)}" for region in regions if (value := found["hold_out"][region])]
    yield f"  Hold-out Dice: {'  '.join(cells)}"
    yield f"  Manifest {found['manifest']}: see {places.release(study)}/manifest.json; serve it with `synthgate serve`"
