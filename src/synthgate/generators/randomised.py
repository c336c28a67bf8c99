"""The generator `randomised`: random contrast on enriched, recombined anatomies of training patients.

Deliberately of low fidelity: the baseline that every learned generator has to beat. Its weights are anatomies and a
table of contrasts, kept in one `weights.safetensors` with `config.json` beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from synthgate import cards
from synthgate.cards import Card
from synthgate.errors import ArtefactError, CohortError, LineageError
from synthgate.files import read_json
from synthgate.generators import contrast
from synthgate.generators.anatomy import Anatomy, Head, Lesion, depth
from synthgate.generators.contrast import Statistics
from synthgate.generators.placement import deform, place, put_back

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
FORMAT = 1
MOST_OUTSIDE = 0.15
"""A placed lesion with more of its voxels outside the brain than this share is drawn again."""
TRIES = 40


@dataclass(frozen=True)
class RandomisedGenerator:
    """A trained generator. `load` it; `anatomy` and `sample` are pure functions of their random generator."""

    card: Card
    channels: tuple[str, ...]
    percentiles: tuple[float, float]
    recombine: bool
    rim: float
    """In-plane depth below the head's surface, in voxels, above which lesions lie: within it is no brain."""
    statistics: Statistics
    heads: tuple[Head, ...]
    lesions: tuple[Lesion, ...]

    @cached_property
    def _own(self) -> dict[str, int]:
        return {head.key: number for number, head in enumerate(self.heads)}

    def donors(self, index: int, seed: int) -> tuple[Head, Lesion]:
        """Head and lesion of a batch's case `index`: permuted cycles, so that every patient is used about equally."""
        if not self.recombine:
            lesion = _cycle(self.lesions, index, [seed, 1])[0]
            return self.heads[self._own[lesion.key]], lesion
        head = _cycle(self.heads, index, [seed, 0])[0]
        order = _cycle(self.lesions, index, [seed, 1])
        return head, next((lesion for lesion in order if lesion.patient != head.patient), order[0])

    def anatomy(self, index: int, seed: int) -> Anatomy:
        """The anatomy of case `index` of a batch: the same whatever the number of cases.

        Raises CohortError where no lesion fits into the head.
        """
        rng = np.random.default_rng([seed, index, 0])
        head, lesion = self.donors(index, seed)
        brain = depth(head.map > 0) >= self.rim
        others = [one for one in self.lesions if one.patient != head.patient] or [lesion]
        for number in range(TRIES):
            if self.recombine:
                if number >= TRIES // 2:  # this lesion does not fit this head: another one
                    lesion = others[rng.integers(len(others))]
                label, lost = place(lesion, head, rng)
                inside = np.where(brain, label, 0)
                whole = int((label > 0).sum()) + lost
                if (inside > 0).sum() < (1 - MOST_OUTSIDE) * max(whole, 1):
                    continue
            else:
                inside = np.where(head.map > 0, put_back(lesion, head), 0)
            codes = deform(np.where(inside > 0, inside, head.map).astype(np.uint8), head.spacing_mm, rng)
            anatomy = Anatomy(
                codes, tuple(dict.fromkeys((head.patient, lesion.patient))), head.spacing_mm, head.attributes
            )
            if anatomy.label.any():
                return anatomy
        raise CohortError(
            f"no lesion fits into the head of patient {head.patient} in {TRIES} tries; "
            f"look at the lesions of the training patients, or use recombine: false"
        )

    def sample(self, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
        """An image of the anatomy: [channel, x, y, z] float32, in the prepared store's convention."""
        drawn = contrast.draw(self.statistics, rng)
        return contrast.render(anatomy, drawn, self.statistics.classes, self.percentiles, rng)


def _cycle(items: Sequence[Any], index: int, seed: Sequence[int]) -> list[Any]:
    """The items in the order of the permutation that `index` falls into, starting at its place there."""
    turn, at = divmod(index, len(items))
    order = np.random.default_rng([*seed, turn]).permutation(len(items))
    return [items[i] for i in np.roll(order, -at)]


def load(folder: Path) -> RandomisedGenerator:
    """Load a trained generator.

    Raises ArtefactError for a missing or broken file, and LineageError where an anatomy is of a patient whom the
    generator's card does not list.
    """
    card, config = cards.read(folder), read_json(folder / CONFIG)
    try:
        if config["format"] != FORMAT or config["kind"] != "randomised":
            raise ArtefactError(
                f"{folder / CONFIG}: expected kind randomised, format {FORMAT}; rebuild with `dvc repro`"
            )
        generator = _built(card, config, load_file(folder / WEIGHTS))
    except FileNotFoundError:
        raise ArtefactError(f"{folder / WEIGHTS} is missing; run `dvc repro` to make it") from None
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder}: {CONFIG} and {WEIGHTS} do not fit ({error}); rebuild with `dvc repro`"
        ) from error
    parts: list[Head | Lesion] = [*generator.heads, *generator.lesions]
    for part in parts:
        if part.patient not in card.patients:
            raise LineageError(
                f"{folder}: the anatomy {part.key} is of patient {part.patient}, whom the generator's card does not "
                f"list; train it again with `dvc repro`"
            )
    return generator


def _built(card: Card, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> RandomisedGenerator:
    heads = tuple(
        Head(one["key"], one["patient"], weights[f"head.{one['key']}"],
             tuple(one["spacing_mm"]) if one["spacing_mm"] else None, one["attributes"])
        for one in config["heads"]
    )  # fmt: skip
    lesions = tuple(
        Lesion(one["key"], one["patient"], weights[f"lesion.{one['key']}"], tuple(one["low"]), tuple(one["sides"]))
        for one in config["lesions"]
    )
    if not lesions:
        raise CohortError(f"generator {card.name} holds no lesion to place; choose training patients who have one")
    statistics = Statistics(
        tuple(config["classes"]), *(weights[f"contrast.{name}"] for name in ("mean", "sd", "texture", "share"))
    )
    return RandomisedGenerator(
        card=card, channels=tuple(config["channels"]), percentiles=tuple(config["percentiles"]),
        recombine=config["params"]["recombine"], rim=config["rim"], statistics=statistics, heads=heads, lesions=lesions,
    )  # fmt: skip
