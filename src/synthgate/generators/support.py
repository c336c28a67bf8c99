"""Can the training patients support a wish? Asked before anything is made; what they cannot is refused, with why."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from synthgate.errors import ParamsError
from synthgate.generators.donors import GROWTH, Donors
from synthgate.generators.shape import Shape
from synthgate.generators.wish import Wish, wish_of
from synthgate.params import Steer, group_of

FEW = 5
"""Donors below which a wish is said to rest on few."""


def supported(people: Donors, steer: Steer, cases: int, seed: int) -> dict[str, Any]:
    """Who is behind a wish for a batch: distinct patients for heads and lesions, and what rests on few.

    Raises ParamsError saying what was wished, what the training patients have, and what to do.
    """
    _regions(people, steer)
    _attributes(people, steer)
    _places(people, steer)
    heads, lesions = set[str](), set[str]()
    for index in range(cases):
        wish = wish_of(steer, tuple(people.regions), index, seed)
        here, there = people.heads_for(wish.attributes), people.lesions_for(wish)
        behind = {lesion.patient for lesion in there}
        if not people.recombine:
            here = [head for head in here if head.patient in behind]
        if not here:
            raise _refused(f"attributes: {dict(wish.attributes)} together", "no training patient is all of that")
        if len(behind) < (wish.lesions or 1):
            have = f"{len(behind)} of {len(people.lesions)} lesions can be made so"
            raise _refused(f"{_told(wish)} in one case (case {index})", f"{have}, each from a patient of its own")
        heads |= {head.patient for head in here}
        lesions |= behind
    few = [
        f"{what} of {len(some)} patients" for what, some in (("heads", heads), ("lesions", lesions)) if len(some) < FEW
    ]
    return {"heads_of": len(heads), "lesions_of": len(lesions), "rests_on_few": few}


def _refused(wished: str, have: str) -> ParamsError:
    return ParamsError(
        f"steer: {wished} cannot be had: {have}; wish for less, or train the generator on more patients (or others)"
    )


def _told(wish: Wish) -> str:
    return str(Wish(wish.volume_ml, wish.absent, wish.hemisphere, wish.lobe, wish.lesions))


def _regions(people: Donors, steer: Steer) -> None:
    names = list(people.regions)
    for region in (*steer.volume_ml, *steer.absent):
        key = "volume_ml" if region in steer.volume_ml else "absent"
        if region not in names:
            raise _refused(f"{key}.{region}", f"the regions of the study are {', '.join(names)}")
        outer = people.regions[names[max(names.index(region) - 1, 0)]]
        if region == names[0] and region in steer.absent:
            raise _refused(f"absent.{region}", f"{region} is the whole lesion, and an anatomy is made with one")
        if region != names[0] and not set(outer) - set(people.regions[region]):
            raise _refused(f"{key}.{region}", "the region around it has no label value of its own")
        if not any(have[region] for have in people.volumes.values()) and steer.absent.get(region, 0) < 1:
            raise _refused(f"{key}.{region}", f"no training patient has {region}")
    for outer_name, inner_name in pairwise([name for name in names if name in steer.absent]):
        if steer.absent[inner_name] < steer.absent[outer_name]:
            raise _refused(
                f"absent.{inner_name}: {steer.absent[inner_name]}",
                f"it lies in {outer_name}, which is absent in {steer.absent[outer_name]:.0%} of the cases",
            )
    sized = [name for name in names if name in steer.volume_ml]
    for region in sized:
        low, high = steer.volume_ml[region]
        have = [one[region] for one in people.volumes.values() if one[region]]
        reach, most = (min(have) / GROWTH**3, max(have) * GROWTH**3), max(steer.lesions, default=1)
        if not people.recombine:
            raise _refused(f"volume_ml.{region}", "the generator keeps each lesion as it is (recombine: false)")
        if low < reach[0] or high > reach[1] * most:
            raise _refused(
                f"volume_ml.{region}: {[low, high]}",
                f"training patients have {min(have):.3g} to {max(have):.3g}, which can be made {reach[0]:.3g} to "
                f"{reach[1]:.3g} (at most {GROWTH:g} times smaller or larger along each axis)",
            )
    for outer_name, inner_name in pairwise(sized):
        if steer.volume_ml[inner_name][0] > steer.volume_ml[outer_name][1]:
            raise _refused(f"volume_ml.{inner_name}", f"{outer_name} around it is wished to be smaller")


def _attributes(people: Donors, steer: Steer) -> None:
    for name, groups in steer.attributes.items():
        have = sorted({head.attributes[name] for head in people.heads if name in head.attributes})
        if not have:
            raise _refused(f"attributes.{name}", f"the training patients state no {name}")
        for group, share in groups.items():
            if share and not people.heads_with(name, group):
                raise _refused(f"attributes.{name}: {group}", f"their {name} is {_values(have)}")


def _values(have: Sequence[str]) -> str:
    if len(have) > 8:
        try:
            return f"from {min(map(float, have)):g} to {max(map(float, have)):g}"
        except ValueError:
            pass
    return ", ".join(have)


def _places(people: Donors, steer: Steer) -> None:
    if not people.recombine and any(number > 1 for number, share in steer.lesions.items() if share):
        raise _refused("lesions", "the generator keeps each lesion in its own head (recombine: false)")
    wished: list[tuple[str, Wish]] = [(f"hemisphere: {one}", Wish(hemisphere=one)) for one in _some(steer.hemisphere)]
    wished += [(f"lobe: {one}", Wish(lobe=one)) for one in _some(steer.lobe)]
    for key, wish in wished:
        if not people.lesions_for(wish):
            raise _refused(key, f"the lesions of training patients lie in: {_where(people)}")


def _some(shares: Mapping[Any, float]) -> list[Any]:
    return [group for group, share in shares.items() if share]


def _where(people: Donors) -> str:
    places = [people.homes[lesion.key, False] for lesion in people.lesions]
    return ", ".join(sorted({" ".join(place) for place in places}))


def delivered(steer: Steer, shapes: Sequence[Shape], attributes: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What the cases of a batch are, in the words of `Steer`, as measured on their label maps and rows.

    Volumes are lowest, median and highest of the cases that have the region; places are shares of the lesions.
    """
    out: dict[str, Any] = {"volume_ml": {}, "absent": {}, "attributes": {}}
    for region in shapes[0].volume_ml:
        sizes = np.array([shape.volume_ml[region] for shape in shapes])
        out["absent"][region] = float((sizes == 0).mean())
        if (sizes > 0).any():
            out["volume_ml"][region] = [float(np.quantile(sizes[sizes > 0], q)) for q in (0, 0.5, 1)]
    places = [place for shape in shapes for place in shape.lesions]
    out["hemisphere"], out["lobe"] = _shares([side for side, _ in places]), _shares([lobe for _, lobe in places])
    out["lesions"] = _shares([str(len(shape.lesions)) for shape in shapes])
    for name, groups in steer.attributes.items():
        values = [one.get(name, "") for one in attributes]
        out["attributes"][name] = _shares([group_of(value, groups) or value for value in values])
    return out


def _shares(values: Sequence[str]) -> dict[str, float]:
    return {value: values.count(value) / len(values) for value in sorted(set(values))}
