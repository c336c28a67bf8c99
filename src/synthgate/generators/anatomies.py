"""The anatomies of a generator: heads and lesions of its training patients, recombined, resized and deformed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from synthgate.errors import CohortError
from synthgate.generators.anatomy import FIRST_CLUSTER, Anatomy, Head, Lesion, covered, depth
from synthgate.generators.placement import deform, place, put_back
from synthgate.generators.shape import home_of, largest, resized, shape_of, voxel_ml
from synthgate.generators.wish import Wish, wish_of
from synthgate.learning.regions import Regions
from synthgate.params import Steer, group_of

MOST_OUTSIDE = 0.15
"""A placed lesion with more of its voxels outside the brain than this share is drawn again."""
TRIES, FAITHFUL = 120, 12
"""How often a lesion is placed anew; how many of these tries keep to the donors whose turn it is."""
GROWTH = 2.0
"""Most that a lesion grows or shrinks along each axis to be of a wished volume, before its random scale."""
NEAREST = 8
"""A lesion for a wished volume is one of so many whose own is nearest to it."""
MOSTLY = 0.5
"""A cluster that a larger share of a patient's lesion lies on is no place that lesions spare, as they do fluid."""
ROUNDS, CLOSE = 5, 0.02
"""Corrections of a lesion's growth, until its volume is as close to the target as this share."""
GAP = 3
"""Voxels between two lesions, at least; the head's deformation moves them together."""
ANYTHING = Steer()


@dataclass(frozen=True)
class Anatomies:
    """What a generator knows of shapes; `anatomy` is a pure function of the case's index, the batch's seed and wish."""

    recombine: bool
    rim: float
    """In-plane depth below the head's surface, in voxels, above which lesions lie: within it is no brain."""
    covers: Mapping[int, float]
    """Cluster → largest share of a training patient's lesion that lies on it, by what the head would hold there."""
    regions: Regions
    """The outermost first."""
    painted: frozenset[str]
    """Attributes that the painter shows whatever the head: a wish for them does not choose heads."""
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
        regions = {name: tuple(values) for name, values in config["regions"].items()}
        return cls(
            config["params"]["recombine"], config["rim"], {int(key): share for key, share in config["covers"].items()},
            # JSON has forgotten the order; regions are nested
            dict(sorted(regions.items(), key=lambda item: -len(item[1]))),
            frozenset(config["params"].get("attributes", ())), heads, lesions,
        )  # fmt: skip

    # --- who

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

    def donors(self, index: int, seed: int, steer: Steer = ANYTHING) -> tuple[Head, list[Lesion]]:
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

    # --- what

    def anatomy(self, index: int, seed: int, steer: Steer = ANYTHING) -> Anatomy:
        """The anatomy of case `index` of a batch: the same whatever the number of cases.

        Raises CohortError where no lesion fits into the head, or none that is as wished.
        """
        wish = wish_of(steer, tuple(self.regions), index, seed)
        head, order = self.donors(index, seed, steer)
        brain = depth(head.map > 0) >= self.rim
        for number in range(TRIES):
            key = [seed, index, 0, number]
            if number >= FAITHFUL:  # these lesions do not fit this head: others
                order = [order[i] for i in np.random.default_rng([*key, 1]).permutation(len(order))]
            lesions = list({lesion.patient: lesion for lesion in reversed(order)}.values())[::-1][: wish.lesions or 1]
            codes = self._made(head, brain, lesions, wish, key)
            if codes is not None and self._kept(codes, head, wish, steer):
                donors = dict.fromkeys((head.patient, *(lesion.patient for lesion in lesions)))
                shown = dict(head.attributes) | self._painted(index, seed, steer, wish)
                return Anatomy(codes, tuple(donors), head.spacing_mm, shown)
        raise CohortError(
            f"no lesion fits into the head of patient {head.patient} in {TRIES} tries, wished for: {wish}; look at the "
            f"lesions of the training patients, wish for less, or use recombine: false"
        )

    def _made(
        self, head: Head, brain: np.ndarray, lesions: Sequence[Lesion], wish: Wish, key: Sequence[int]
    ) -> np.ndarray | None:
        """One try: the deformed map with the lesions in it; None where they cannot lie there."""
        whole, *_ = self.regions
        target = wish.volume_ml.get(whole)
        growth = [1.0] * len(lesions)
        if target:
            growth = [(target / len(lesions) / self.volumes[lesion.key][whole]) ** (1 / 3) for lesion in lesions]
        for _ in range(ROUNDS):
            rng = np.random.default_rng(key)  # the same shape each round, of another size
            label = self._placed(head, brain, lesions, wish, growth, rng)
            if label is None:
                return None
            codes = deform(np.where(label > 0, label, head.map).astype(np.uint8), head.spacing_mm, rng)
            size = float((_label(codes) > 0).sum()) * voxel_ml(head.spacing_mm)
            if not target or not size or abs(target / size - 1) < CLOSE:
                break
            growth = [float(np.clip(one * (target / size) ** (1 / 3), 1 / GROWTH, GROWTH)) for one in growth]
        inner = {region: size for region, size in wish.volume_ml.items() if region != whole}
        inner |= {region: 0.0 for region, gone in wish.absent.items() if gone}
        label = resized(_label(codes), self.regions, inner, head.spacing_mm) if inner else _label(codes)
        return np.where(label > 0, label, codes)

    def _placed(
        self,
        head: Head,
        brain: np.ndarray,
        lesions: Sequence[Lesion],
        wish: Wish,
        growth: Sequence[float],
        rng: np.random.Generator,
    ) -> np.ndarray | None:
        """The lesions in the undeformed head; None where one leaves the brain, covers too much of what no training
        patient's lesion does, or comes too near to another."""
        if not self.recombine:
            return np.where(head.map > 0, put_back(lesions[0], head), 0)
        out = np.zeros_like(head.map)
        for lesion, grown in zip(lesions, growth, strict=True):
            mirrors = self.mirrors_for(lesion, wish)
            label, lost = place(lesion, head, rng, mirror=mirrors[0] if len(mirrors) == 1 else None, growth=grown)
            inside = np.where(brain, label, 0)
            if (inside > 0).sum() < (1 - MOST_OUTSIDE) * max(int((label > 0).sum()) + lost, 1):
                return None
            inside = largest(inside) if wish.lesions else inside
            if any(share > self._most(cluster) for cluster, share in covered(head.map, inside).items()):
                return None
            if (
                out.any()
                and (ndimage.binary_dilation(out > 0, np.ones((3, 3, 3)), iterations=GAP) & (inside > 0)).any()
            ):
                return None
            out = np.where(inside > 0, inside, out)
        return out

    def _most(self, cluster: int) -> float:
        """Largest share of a lesion that may lie on a cluster: as in patients; all where one of theirs mostly does."""
        share = self.covers.get(cluster, 0.0)
        return 1.0 if share > MOSTLY else share

    def _kept(self, codes: np.ndarray, head: Head, wish: Wish, steer: Steer) -> bool:
        """Does the map hold a lesion, and one as wished?"""
        found = shape_of(_label(codes), codes > 0, self.regions, head.spacing_mm)
        slack = voxel_ml(head.spacing_mm) / 2
        sized = all(
            steer.volume_ml[region][0] - slack <= found.volume_ml[region] <= steer.volume_ml[region][1] + slack
            for region in wish.volume_ml
        )
        there = all((found.volume_ml[region] == 0) is gone for region, gone in wish.absent.items())
        placed = all(
            side == (wish.hemisphere or side) and lobe == (wish.lobe or lobe) for side, lobe in found.lesions
        ) and bool(found.lesions or not (wish.hemisphere or wish.lobe))
        counted = wish.lesions in (None, len(found.lesions))
        return bool(_label(codes).any()) and sized and there and placed and counted

    def _painted(self, index: int, seed: int, steer: Steer, wish: Wish) -> dict[str, str]:
        """A training patient's value in the wished group, of each wished attribute that the painter shows."""
        out = {}
        for name in sorted(self.painted & wish.attributes.keys()):
            values = sorted({head.attributes.get(name, "") for head in self.heads_with(name, wish.attributes[name])})
            out[name] = _cycle(values, self._turn(index, seed, steer, wish), [seed, 4])[0]
        return out

    def heads_with(self, name: str, group: str) -> list[Head]:
        """The heads of patients in a group, painted or not."""
        return [head for head in self.heads if group_of(head.attributes.get(name, ""), [group])]


def _label(codes: np.ndarray) -> np.ndarray:
    return np.where(codes < FIRST_CLUSTER, codes, 0).astype(np.uint8)


def _cycle(items: Sequence[Any], index: int, seed: Sequence[int]) -> list[Any]:
    """The items in the order of the permutation that `index` falls into, starting at its place there."""
    turn, at = divmod(index, len(items))
    order = np.random.default_rng([*seed, turn]).permutation(len(items))
    return [items[i] for i in np.roll(order, -at)]
