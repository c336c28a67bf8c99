"""A segmenter's scores on whole volumes, on the patient's own grid, as the served model would answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthgate.cohort.prepare import restore
from synthgate.cohort.store import Store, StoredCase
from synthgate.learning.regions import Regions, dice, to_label, to_regions

Predict = Callable[[np.ndarray], np.ndarray]
"""[channel, x, y, z] float32 → [region, x, y, z] float32 probabilities."""


def segment(predict: Predict, store: Store, case: StoredCase, regions: Regions) -> np.ndarray:
    """The predicted label on the case's native grid, uint8."""
    return to_label(restore(predict(store.image(case)), case.geometry), regions)


@dataclass(frozen=True)
class Overlap:
    """One region of one patient: Dice where the patient has it, else how many voxels are falsely found."""

    dice: float | None
    false_voxels: int | None


def score(predict: Predict, store: Store, case: StoredCase, regions: Regions) -> dict[str, Overlap]:
    """Region → overlap with the native label.

    A patient without the region has no Dice, whatever is predicted, so that two models' means stand on the same
    patients; what is found in them all the same is counted apart.
    """
    predicted = to_regions(segment(predict, store, case, regions), regions)
    truth = to_regions(store.truth(case), regions)
    return {
        name: Overlap(dice(p, t), None if t.any() else int(p.sum()))
        for name, p, t in zip(regions, predicted, truth, strict=True)
    }
