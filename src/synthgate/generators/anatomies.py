"""The anatomies of a generator: heads and lesions of its training patients, recombined and deformed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from synthgate.errors import CohortError
from synthgate.generators.anatomy import Anatomy, Head, Lesion, depth
from synthgate.generators.placement import deform, place, put_back

MOST_OUTSIDE = 0.15
"""A placed lesion with more of its voxels outside the brain than this share is drawn again."""
TRIES = 40


@dataclass(frozen=True)
class Anatomies:
    """What a generator knows of shapes; `anatomy` is a pure function of the case's index and the batch's seed."""

    recombine: bool
    rim: float
    """In-plane depth below the head's surface, in voxels, above which lesions lie: within it is no brain."""
    heads: tuple[Head, ...]
    lesions: tuple[Lesion, ...]

    @classmethod
    def built(cls, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> "Anatomies":
        """From the configuration and the tensors that training wrote; raises CohortError where no lesion is held."""
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
            raise CohortError("the generator holds no lesion to place; choose training patients who have one")
        return cls(config["params"]["recombine"], config["rim"], heads, lesions)

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


def _cycle(items: Sequence[Any], index: int, seed: Sequence[int]) -> list[Any]:
    """The items in the order of the permutation that `index` falls into, starting at its place there."""
    turn, at = divmod(index, len(items))
    order = np.random.default_rng([*seed, turn]).permutation(len(items))
    return [items[i] for i in np.roll(order, -at)]
