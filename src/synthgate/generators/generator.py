"""A trained generator: anatomies, and a painter that makes images of them. One interface for all kinds.

Its files are `config.json`, `weights.safetensors` (anatomies and tables) and, where the painter is learned, the
network's; where it paints lesions, the real images of its heads too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load_file

from synthgate import cards
from synthgate.cards import Card
from synthgate.cohort.identity import PUBLIC
from synthgate.errors import ArtefactError, LineageError
from synthgate.files import read_json
from synthgate.generators.anatomies import Anatomies
from synthgate.generators.anatomy import Anatomy, Head, Lesion
from synthgate.generators.randomised import Randomised
from synthgate.params import KINDS, Learned

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
FORMAT = 6


class Painter(Protocol):
    """Makes images of anatomies."""

    def sample(
        self, anatomies: Sequence[Anatomy], attributes: Sequence[Mapping[str, str]], rng: np.random.Generator
    ) -> list[np.ndarray]:
        """An image [channel, x, y, z] float32 of each anatomy, in the prepared store's convention.

        `attributes` are those the image is to show, one mapping for each anatomy.
        """


@dataclass(frozen=True)
class Generator:
    """`load` it; `anatomies.anatomy` and `sample` are pure functions of their seeds."""

    card: Card
    channels: tuple[str, ...]
    anatomies: Anatomies
    painter: Painter

    def sample(
        self, anatomies: Sequence[Anatomy], attributes: Sequence[Mapping[str, str]], rng: np.random.Generator
    ) -> list[np.ndarray]:
        """As the painter's."""
        return self.painter.sample(anatomies, attributes, rng)


def _painter(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], folder: Path, accelerator: str) -> Painter:
    row: Any = TypeAdapter(KINDS[config["kind"]]).validate_python(config["params"])
    if isinstance(row, Learned):
        from synthgate.generators.learned.painter import Painter as Network  # torch and MONAI take seconds

        return Network.built(config, weights, row, folder, accelerator)
    return Randomised.built(config, weights)


def load(folder: Path, accelerator: str = "auto") -> Generator:
    """Load a trained generator; a learned painter paints on a GPU where there is one and `accelerator` is not cpu.

    Raises ArtefactError for a missing or broken file, and LineageError where an anatomy is of a patient whom the
    generator's card does not list, or of any where it declares a public source.
    """
    card, config = cards.read(folder), read_json(folder / CONFIG)
    try:
        if config["format"] != FORMAT or config["kind"] not in KINDS:
            raise ArtefactError(
                f"{folder / CONFIG}: expected a kind of {', '.join(KINDS)}, format {FORMAT}; rebuild with `dvc repro`"
            )
        weights = load_file(folder / WEIGHTS)
        anatomies = Anatomies.built(config, weights)
        generator = Generator(
            card, tuple(config["channels"]), anatomies, _painter(config, weights, folder, accelerator)
        )
    except FileNotFoundError:
        raise ArtefactError(f"{folder / WEIGHTS} is missing; run `dvc repro` to make it") from None
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder}: {CONFIG} and {WEIGHTS} do not fit ({error}); rebuild with `dvc repro`"
        ) from error
    parts: list[Head | Lesion] = [*anatomies.heads, *anatomies.lesions]
    public = card.facts.get("privacy", {}).get("public")
    for part in parts:
        if not (part.patient.startswith(PUBLIC) if public else part.patient in card.patients):
            told = "who is of no public source, as its card says of all" if public else "whom its card does not list"
            what = f"the anatomy {part.key} is of patient {part.patient}, {told}"
            raise LineageError(f"{folder}: {what}; train it again with `dvc repro`")
    return generator
