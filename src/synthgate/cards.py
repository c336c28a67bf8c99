"""Cards: the `card.json` beside every artefact, which says what made it, from what, and from which patients."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from synthgate import __version__
from synthgate.errors import ArtefactError
from synthgate.files import digest, digest_all, read_json, write_json

NAME = "card.json"


@dataclass(frozen=True)
class Card:
    """What an artefact is made of.

    No time stands on it: the same inputs give the same bytes. `patients` are the pseudonyms that the artefact, or
    anything it derives from, learned from; `content` is the digest of the artefact's other files.
    """

    stage: str
    """The stage that made it: prepare, calibrate, train_generator, synthesize, gate, study or release."""
    name: str
    """The row's name: the study, generator or batch."""
    study: str
    patients: tuple[str, ...]
    params: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Path → digest of what it was made from."""
    terms: tuple[str, ...] = ()
    """Licence and consent terms of the sources, carried along."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is worth telling about it, by name."""
    content: str = ""
    code: str = ""
    version: str = __version__


def write(folder: Path, card: Card) -> None:
    """Write the card into its finished folder, with the digests of the content and of the package's code."""
    code = digest_all(sorted(Path(__file__).parent.rglob("*.py")))
    write_json(folder / NAME, asdict(card) | {"content": digest(folder, without=NAME), "code": code})


def read(folder: Path) -> Card:
    """Read the card of an artefact; raises ArtefactError where there is none or it is not a card."""
    value = read_json(folder / NAME)
    try:
        return Card(**(value | {key: tuple(value[key]) for key in ("patients", "terms")}))
    except (TypeError, KeyError) as error:
        raise ArtefactError(f"{folder / NAME} is not a card ({error}); rebuild {folder} with `dvc repro`") from error


def inputs_of(paths: Iterable[Path]) -> dict[str, str]:
    """Path → digest; a folder with a card counts by its card.

    Raises ArtefactError where a folder's content is not what its card was written for.
    """
    return {path.as_posix(): _digest_of_input(path) for path in map(Path, paths)}


def _digest_of_input(path: Path) -> str:
    if not (path / NAME).is_file():
        return digest(path)
    if read(path).content != digest(path, without=NAME):
        raise ArtefactError(f"{path} was changed after its card was written; `dvc checkout {path}`, or make it again")
    return digest(path / NAME)
