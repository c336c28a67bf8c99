"""Who is behind a case: heads and lesions of training patients that fit a wish, used in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from synthgate.errors import CohortError
from synthgate.generators.anatomy import Head, Lesion
from synthgate.generators.shape import home_of, voxel_ml
from synthgate.generators.wish import Wish, wish_of
from synthgate.learning.regions import Regions
from synthgate.params import Steer, group_of

GROWTH = 2.0
"""Most that a lesion grows or shrinks along each axis to be of a wished volume, before its random scale."""
NEAREST = 8
"""A lesion for a wished volume is one of so many whose own is nearest to it."""
T = TypeVar("T")


@dataclass(frozen=True)
class Donors:
    """The heads and lesions a generator holds."""

    recombine: bool
    regions: Regions
    """The outermost first."""
    painted: frozenset[str]
    """Attributes that the painter shows whatever the head: a wish for them does not choose heads. None where it paints
    lesions into real heads."""
    heads: tuple[Head, ...]
    lesions: tuple[Lesion, ...]

    @cached_property
    def _own(self) -> dict[str, Head]:
        return {head.key: head for head in self.heads}

    @cached_property
    def volumes(self) -> dict[str, dict[str, float]]:
        """Lesion → region → volume in its own head, in ml."""
        return {
            one.key: {
                name: float(np.isin(one.label, values).sum()) * voxel_ml(self._own[one.key].spacing_mm)
                for name, values in self.regions.items()
            }
            for one in self.lesions
        }

    @cached_property
    def homes(self) -> dict[tuple[str, bool], tuple[str, str]]:
        """(Lesion, mirrored?) → where most of it is."""
        return {(one.key, mirrored): home_of(one, mirrored) for one in self.lesions for mirrored in (False, True)}

    def heads_for(self, attributes: Mapping[str, str]) -> list[Head]:
        """The heads of patients in all of these groups, but for attributes that are painted."""
        groups = {name: group for name, group in attributes.items() if name not in self.painted}
        return [
            head for head in self.heads
            if all(group_of(head.attributes.get(name, ""), [group]) for name, group in groups.items())
        ]  # fmt: skip

    def mirrors_for(self, lesion: Lesion, wish: Wish) -> list[bool]:
        """Mirrored or not: which of it brings the lesion to the wished place."""
        return [
            mirrored for mirrored in ((False, True) if self.recombine else (False,))
            for side, lobe in [self.homes[lesion.key, mirrored]]
            if side == (wish.hemisphere or side) and lobe == (wish.lobe or lobe)
        ]  # fmt: skip

    def lesions_for(self, wish: Wish) -> list[Lesion]:
        """The lesions that can be made what is wished; of those for a wished volume, the nearest few."""
        targets = {region: size / (wish.lesions or 1) for region, size in wish.volume_ml.items()}
        most = GROWTH**3

        def fits(lesion: Lesion) -> bool:
            have = self.volumes[lesion.key]
            return (
                bool(self.mirrors_for(lesion, wish))
                and all(gone or have[region] > 0 for region, gone in wish.absent.items())
                and all(have[region] <= most * size <= most**2 * have[region] for region, size in targets.items())
                and all(have[outer] >= targets[inner] for inner in targets for outer in self._around(inner, targets))
            )

        found = [lesion for lesion in self.lesions if fits(lesion)]
        if targets:
            own = [self.volumes[lesion.key] for lesion in found]
            gaps = [sum(abs(np.log(size / have[region])) for region, size in targets.items()) for have in own]
            found = [found[i] for i in sorted(np.argsort(gaps, kind="stable")[:NEAREST])]
        return found

    def _around(self, region: str, targets: Mapping[str, float]) -> list[str]:
        """The regions around one that are not wished for, and so stay as large as they are."""
        names = list(self.regions)
        return [name for name in names[: names.index(region)] if name not in targets]

    def of(self, index: int, seed: int, steer: Steer) -> tuple[Head, list[Lesion]]:
        """Head of a batch's case `index`, and lesions of other patients, the first being the one whose turn it is.

        Permuted cycles, so that every patient who fits the wish is used about equally. Raises CohortError where nobody
        fits it.
        """
        wish = wish_of(steer, tuple(self.regions), index, seed)
        heads, lesions = self.heads_for(wish.attributes), self.lesions_for(wish)
        if not self.recombine:
            own = {lesion.key: lesion for lesion in lesions}
            heads = [head for head in heads if head.key in own]
        if not heads or not lesions:
            raise CohortError(
                f"case {index}: no training patient has {'a head' if lesions else 'a lesion'} for {wish}; wish for less"
            )
        head = _cycle(heads, self._turn(index, seed, steer, wish), [seed, 0])[0]
        if not self.recombine:
            return head, [own[head.key]]
        order = _cycle(lesions, index, [seed, 1])
        return head, [lesion for lesion in order if lesion.patient != head.patient] or order

    def _turn(self, index: int, seed: int, steer: Steer, wish: Wish) -> int:
        """How many cases before this one choose among the same heads."""
        if not steer.attributes:
            return index
        before = (wish_of(steer, tuple(self.regions), i, seed) for i in range(index))
        return sum(other.attributes == wish.attributes for other in before)

    def shown(self, index: int, seed: int, steer: Steer, wish: Wish) -> dict[str, str]:
        """A training patient's value in the wished group, of each wished attribute that the painter shows."""
        out = {}
        for name in sorted(self.painted & wish.attributes.keys()):
            values = sorted({head.attributes.get(name, "") for head in self.heads_with(name, wish.attributes[name])})
            out[name] = _cycle(values, self._turn(index, seed, steer, wish), [seed, 4])[0]
        return out

    def heads_with(self, name: str, group: str) -> list[Head]:
        """The heads of patients in a group, painted or not."""
        return [head for head in self.heads if group_of(head.attributes.get(name, ""), [group])]


def _cycle(items: Sequence[T], index: int, seed: Sequence[int]) -> list[T]:
    """The items in the order of the permutation that `index` falls into, starting at its place there."""
    turn, at = divmod(index, len(items))
    order = np.random.default_rng([*seed, turn]).permutation(len(items))
    return [items[i] for i in np.roll(order, -at)]
