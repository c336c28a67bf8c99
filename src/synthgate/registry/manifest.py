"""The manifest of a release: the chain from source hashes to metrics, in one file whose digest is its name."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synthgate import __version__, cards
from synthgate.errors import ArtefactError
from synthgate.files import digest, digest_of, read_json, write_json
from synthgate.params import StudyRow, as_plain

NAME = "manifest.json"


@dataclass(frozen=True)
class BatchUse:
    """A synthetic batch that the released model was trained with."""

    share: float
    """Share of each training batch drawn from it."""
    verdict: str
    """The gate's decision: approved, limited, rejected or undecided."""
    evidence: str
    """SHA-256 of the verdict file."""


@dataclass(frozen=True)
class Manifest:
    """Everything a released model rests on; no time and no git revision stand in it (the tag gives them)."""

    study: str
    artifact: str
    """The model's name in the registry."""
    arm: str
    """The arm of the study it was trained by."""
    weights: str
    """SHA-256 of `model.safetensors`."""
    artefacts: Mapping[str, Mapping[str, Any]]
    """Folder → stage, name, card digest, content digest, parameters and inputs (path → digest) of every artefact behind
    it; the inputs of one are found among the others, down to the source data."""
    batches: Mapping[str, Mapping[str, Any]]
    """Batch → share, verdict and evidence (see BatchUse); empty for a model of real patients only."""
    patients: Mapping[str, Mapping[str, Any]]
    """Split → count of patients and SHA-256 of their sorted pseudonyms."""
    params: Mapping[str, Any]
    """The study's row of `params.yaml`."""
    validation: Mapping[str, Any]
    """Metrics on validation, by which it was chosen."""
    hold_out: Mapping[str, Any]
    """Metrics on the hold-out, opened once."""
    decision: str
    """Why this model, in a sentence."""
    terms: tuple[str, ...]
    """Licence and consent terms of all sources."""
    version: str
    """Version of synthgate."""
    code: str
    """Digest of synthgate's code that made the last of the artefacts."""


def build(
    *,
    study: str,
    row: StudyRow,
    arm: str,
    weights: bytes,
    artefacts: Iterable[Path],
    batches: Mapping[str, BatchUse],
    patients: Mapping[str, Iterable[str]],
    validation: Mapping[str, Any],
    hold_out: Mapping[str, Any],
    decision: str,
) -> Manifest:
    """Build the manifest of a release.

    `artefacts` are the folders that hold a card: prepared store, judges, the generators and batches of the arm, the
    study. `patients` maps a split to pseudonyms. Raises ArtefactError where a card is missing.
    """
    folders = sorted(map(Path, artefacts))
    read = {folder.as_posix(): cards.read(folder) for folder in folders}
    return Manifest(
        study=study,
        artifact=row.release.artifact,
        arm=arm,
        weights=hashlib.sha256(weights).hexdigest(),
        artefacts={
            path: {
                "stage": card.stage,
                "name": card.name,
                "card": digest(Path(path) / cards.NAME),
                "content": card.content,
                "params": dict(card.params),
                "inputs": dict(card.inputs),
            }
            for path, card in read.items()
        },
        batches={name: asdict(use) for name, use in batches.items()},
        patients={split: _counted(names) for split, names in patients.items()},
        params=as_plain(row),
        validation=validation,
        hold_out=hold_out,
        decision=decision,
        terms=tuple(sorted({term for card in read.values() for term in card.terms})),
        version=__version__,
        code=digest_of(sorted({card.code for card in read.values()})),
    )


def manifest_id(manifest: Manifest) -> str:
    """The manifest's name: the first 16 hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(asdict(manifest), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the release's folder."""
    write_json(folder / NAME, asdict(manifest))


def read(folder: Path) -> Manifest:
    """Read the manifest of a release; raises ArtefactError where it is missing or is not one."""
    value = read_json(folder / NAME)
    try:
        return Manifest(**(value | {"terms": tuple(value["terms"])}))
    except (TypeError, KeyError) as error:
        raise ArtefactError(
            f"{folder / NAME} is not a manifest ({error}); rebuild {folder} with `dvc repro`"
        ) from error


def _counted(names: Iterable[str]) -> dict[str, Any]:
    known = sorted(set(names))
    return {"count": len(known), "digest": digest_of(known)}
