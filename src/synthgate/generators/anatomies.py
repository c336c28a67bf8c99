"""The anatomies of a generator: heads and lesions of its training patients, recombined, resized and deformed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from synthgate.errors import CohortError
from synthgate.generators.anatomy import FIRST_CLUSTER, Anatomy, Head, Lesion, Real, covered, depth
from synthgate.generators.donors import GROWTH, Donors
from synthgate.generators.placement import deform, place, put_back
from synthgate.generators.shape import largest, resized, shape_of, voxel_ml
from synthgate.generators.wish import Wish, wish_of
from synthgate.params import Steer

MOST_OUTSIDE = 0.15
"""A placed lesion with more of its voxels outside the brain than this share is drawn again."""
TRIES, FAITHFUL = 120, 12
"""How often a lesion is placed anew; how many of these tries keep to the donors whose turn it is."""
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

    rim: float
    """In-plane depth below the head's surface, in voxels, above which lesions lie: within it is no brain."""
    covers: Mapping[int, float]
    """Cluster → largest share of a training patient's lesion that lies on it, by what the head would hold there."""
    people: Donors
    real: bool = False
    """Lesions are painted into the heads' own images: heads keep their shape."""

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
        real = config["params"].get("paints") == "lesion"
        return cls(config["rim"], {int(key): share for key, share in config["covers"].items()}, Donors(
            config["params"]["recombine"],
            # JSON has forgotten the order; regions are nested
            dict(sorted(regions.items(), key=lambda item: -len(item[1]))),
            frozenset() if real else frozenset(config["params"].get("attributes", ())), heads, lesions,
        ), real)  # fmt: skip

    @property
    def heads(self) -> tuple[Head, ...]:
        """All heads it holds."""
        return self.people.heads

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """All lesions it holds."""
        return self.people.lesions

    def donors(self, index: int, seed: int, steer: Steer = ANYTHING) -> tuple[Head, list[Lesion]]:
        """As `Donors.of`."""
        return self.people.of(index, seed, steer)

    def anatomy(self, index: int, seed: int, steer: Steer = ANYTHING) -> Anatomy:
        """The anatomy of case `index` of a batch: the same whatever the number of cases.

        Raises CohortError where no lesion fits into the head, or none that is as wished.
        """
        wish = wish_of(steer, tuple(self.people.regions), index, seed)
        head, order = self.donors(index, seed, steer)
        brain = depth(head.map > 0) >= self.rim
        for number in range(TRIES):
            key = [seed, index, 0, number]
            if number >= FAITHFUL:  # these lesions do not fit this head: others
                order = [order[i] for i in np.random.default_rng([*key, 1]).permutation(len(order))]
            lesions = list({lesion.patient: lesion for lesion in reversed(order)}.values())[::-1][: wish.lesions or 1]
            made = self._made(head, brain, lesions, wish, key)
            if made and self._kept(made[0], head, wish, steer):
                codes, shares = made
                donors = dict.fromkeys((head.patient, *(lesion.patient for lesion in lesions)))
                shown = dict(head.attributes) | self.people.shown(index, seed, steer, wish)
                real = self._real(head) if self.real else None
                return Anatomy(codes, tuple(donors), head.spacing_mm, shown, shares, real)
        raise CohortError(
            f"no lesion fits into the head of patient {head.patient} in {TRIES} tries, wished for: {wish}; look at the "
            f"lesions of the training patients, wish for less, or use recombine: false"
        )

    def _real(self, head: Head) -> Real:
        """The head's own image, with its lesion where it has one."""
        own = [put_back(lesion, head) > 0 for lesion in self.lesions if lesion.key == head.key]
        return Real(head.key, own[0] if own else np.zeros(head.map.shape, bool))

    def _made(
        self, head: Head, brain: np.ndarray, lesions: Sequence[Lesion], wish: Wish, key: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray | None] | None:
        """One try: the map with the lesions in it and its shares; None where they cannot lie there.

        Unless it is `real`, the head is deformed.
        """
        whole, *_ = self.people.regions
        target = wish.volume_ml.get(whole)
        growth = [1.0] * len(lesions)
        if target:
            growth = [(target / len(lesions) / self.people.volumes[lesion.key][whole]) ** (1 / 3) for lesion in lesions]
        for _ in range(ROUNDS):
            rng = np.random.default_rng(key)  # the same shape each round, of another size
            label = self._placed(head, brain, lesions, wish, growth, rng)
            if label is None:
                return None
            codes, shares = np.where(label > 0, label, head.map), None
            if not self.real:
                codes, shares = deform(head.map, label, head.spacing_mm, rng)
            size = float((_label(codes) > 0).sum()) * voxel_ml(head.spacing_mm)
            if not target or not size or abs(target / size - 1) < CLOSE:
                break
            growth = [float(np.clip(one * (target / size) ** (1 / 3), 1 / GROWTH, GROWTH)) for one in growth]
        inner = {region: size for region, size in wish.volume_ml.items() if region != whole}
        inner |= {region: 0.0 for region, gone in wish.absent.items() if gone}
        label = resized(_label(codes), self.people.regions, inner, head.spacing_mm) if inner else _label(codes)
        return np.where(label > 0, label, codes), shares

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
        if not self.people.recombine:
            return np.where(head.map > 0, put_back(lesions[0], head), 0)
        out = np.zeros_like(head.map)
        for lesion, grown in zip(lesions, growth, strict=True):
            mirrors = self.people.mirrors_for(lesion, wish)
            label, lost = place(lesion, head, rng, mirror=mirrors[0] if len(mirrors) == 1 else None, growth=grown)
            inside = np.where(brain, label, 0)
            if (inside > 0).sum() < (1 - MOST_OUTSIDE) * max(int((label > 0).sum()) + lost, 1):
                return None
            inside = largest(inside) if wish.lesions else inside
            if any(share > self._most(cluster) for cluster, share in covered(head.map, inside).items()):
                return None
            near = ndimage.binary_dilation(out > 0, np.ones((3, 3, 3)), iterations=GAP)
            if (near & (inside > 0)).any():
                return None
            out = np.where(inside > 0, inside, out)
        return out

    def _most(self, cluster: int) -> float:
        """Largest share of a lesion that may lie on a cluster: as in patients; all where one of theirs mostly does."""
        share = self.covers.get(cluster, 0.0)
        return 1.0 if share > MOSTLY else share

    def _kept(self, codes: np.ndarray, head: Head, wish: Wish, steer: Steer) -> bool:
        """Does the map hold a lesion, and one as wished?"""
        found = shape_of(_label(codes), codes > 0, self.people.regions, head.spacing_mm)
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


def _label(codes: np.ndarray) -> np.ndarray:
    return np.where(codes < FIRST_CLUSTER, codes, 0).astype(np.uint8)
