"""The wish for one case: what a batch's `steer` asks of case `index`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from scipy.stats import qmc

from synthgate.params import Steer

T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """One case's wish; what is None or not named is free."""

    volume_ml: Mapping[str, float] = field(default_factory=dict)
    """Region → total volume aimed at."""
    absent: Mapping[str, bool] = field(default_factory=dict)
    """Sub-region → to be absent, or to be there."""
    hemisphere: str | None = None
    lobe: str | None = None
    lesions: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attribute → group."""

    def __str__(self) -> str:
        parts = [f"{region} of {size:.2g} ml" for region, size in self.volume_ml.items()]
        parts += [f"{'no' if gone else 'some'} {region}" for region, gone in self.absent.items()]
        parts += [part for part in (self.hemisphere, self.lobe) if part]
        parts += [f"{self.lesions} lesions"] if self.lesions else []
        return ", ".join([*parts, *(f"{name} {group}" for name, group in self.attributes.items())]) or "anything"


def wish_of(steer: Steer, regions: tuple[str, ...], index: int, seed: int) -> Wish:
    """The wish for case `index`, whatever the number of cases; `regions` are the study's, the outermost first.

    Quantities follow a Sobol' sequence, whose first 2ⁿ places are even in each of them, so that shares come out as a
    quota, and nearly so in all together.
    """
    volumes, absents = ([r for r in regions if r in named] for named in (steer.volume_ml, steer.absent))
    keys = [f"volume {r}" for r in volumes] + [f"attribute {name}" for name in steer.attributes]
    keys += [name for name in ("absent", "hemisphere", "lobe", "lesions") if getattr(steer, name)]
    at = dict(zip(keys, _even(len(keys), index, seed), strict=True)) if keys else {}
    # by one number for all, so that cases without a region are among those without what lies in it
    absent = {r: bool(at["absent"] < steer.absent[r]) for r in absents}
    # what lies in an absent region is absent
    gone = set(regions[min((regions.index(r) for r in absent if absent[r]), default=len(regions)) :])
    targets: dict[str, float] = {}
    for region in volumes:
        inner = [steer.volume_ml[r][0] for r in volumes if r not in gone and regions.index(r) > regions.index(region)]
        low, high = steer.volume_ml[region]
        low, high = max([low, *inner]), min([high, *targets.values()])
        if region not in gone:
            targets[region] = float(low * (high / low) ** at[f"volume {region}"])
    return Wish(
        volume_ml=targets,
        absent=absent,
        hemisphere=_pick(steer.hemisphere, at.get("hemisphere")),
        lobe=_pick(steer.lobe, at.get("lobe")),
        lesions=_pick(steer.lesions, at.get("lesions")),
        attributes={name: str(_pick(one, at[f"attribute {name}"])) for name, one in steer.attributes.items()},
    )


def _even(count: int, index: int, seed: int) -> np.ndarray:
    """[count] numbers in 0..1: place `index` of a Sobol' sequence scrambled by the seed (Owen 1998)."""
    sequence = qmc.Sobol(count, rng=np.random.default_rng([seed, 3]))
    return np.asarray(sequence.random_base2(index.bit_length())[index])


def _pick(shares: Mapping[T, float], at: float | None) -> T | None:
    """The group that `at` in 0..1 falls into; None where there is no wish."""
    if at is None:
        return None
    wished = [(group, share) for group, share in shares.items() if share]
    edges = np.cumsum([share for _, share in wished])[:-1]
    return wished[int(np.searchsorted(edges, at, side="right"))][0]
