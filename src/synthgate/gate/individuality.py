"""How individual the patients at hand are: unseen ones against training ones."""

from typing import Any

import numpy as np

from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.stats.distances import pairwise
from synthgate.stats.neighbours import distance_ratios, nearest_ratio, nearest_two, one_nn_accuracy


def individuality(reference: Measured, components: int) -> dict[str, Any]:
    """How individual patients are: unseen (validation) against training patients, per space.

    Nearest-neighbour ratio: median distance of unseen patients to their nearest training patient over that of training
    patients among themselves (about 1); class-balanced 1-NN accuracy (about 0.5); median NNDR of unseen patients.
    """
    train, unseen = (reference.rows(reference.split == split) for split in ("train", "validation"))
    out: dict[str, Any] = {}
    for name in samples.spaces(reference):
        # axes fitted on both alike: fitted on training patients alone they make unseen ones look nearer
        space = samples.Space.of(np.concatenate([train.space(name), unseen.space(name)]), components)
        a, b = space(train.space(name)), space(unseen.space(name))
        ratios = distance_ratios(nearest_two(pairwise(b, a), unseen.group, train.group))
        out[name] = {
            "nearest_ratio": _shown(nearest_ratio(a, b, train.group, unseen.group)),
            "one_nn_accuracy": _shown(one_nn_accuracy(a, b, train.group, unseen.group)),
            "nndr": _shown(None if ratios is None else float(np.median(ratios))),
        }
    return out


def _shown(value: float | None) -> float | str:
    return "undefined" if value is None else round(value, 4)
