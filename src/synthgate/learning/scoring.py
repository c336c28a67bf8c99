"""A segmenter's scores on whole volumes, on the patient's own grid, as the served model would answer."""

from collections.abc import Callable

import numpy as np

from synthgate.cohort.prepare import restore
from synthgate.cohort.store import Store, StoredCase
from synthgate.learning.regions import Regions, dice, to_label, to_regions

Predict = Callable[[np.ndarray], np.ndarray]
"""[channel, x, y, z] float32 → [region, x, y, z] float32 probabilities."""


def segment(predict: Predict, store: Store, case: StoredCase, regions: Regions) -> np.ndarray:
    """The predicted label on the case's native grid, uint8."""
    return to_label(restore(predict(store.image(case)), case.geometry), regions)


def score(predict: Predict, store: Store, case: StoredCase, regions: Regions) -> dict[str, float | None]:
    """Region → Dice against the native label; None where the region is empty in both."""
    predicted = to_regions(segment(predict, store, case, regions), regions)
    truth = to_regions(store.truth(case), regions)
    return {name: dice(p, t) for name, p, t in zip(regions, predicted, truth, strict=True)}
