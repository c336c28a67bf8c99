"""From per-patient scores to what they say about each arm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgate.learning.scoring import Overlap
from synthgate.params import Study
from synthgate.stats.intervals import Interval, two_way
from synthgate.stats.outcomes import Outcome, outcome_of


@dataclass(frozen=True)
class Score:
    """One patient's Dice in one region by one training; without the region None, and the voxels falsely found."""

    arm: str
    draw: int
    patient: str
    region: str
    dice: float | None
    false_voxels: int | None = None


def scores_of(arm: str, draw: int, patient: str, found: Mapping[str, Overlap]) -> list[Score]:
    """A patient's scores, region by region."""
    return [Score(arm, draw, patient, region, one.dice, one.false_voxels) for region, one in found.items()]


@dataclass(frozen=True)
class Comparison:
    """An arm against its real-only baseline in one region, over the patients and draws they share."""

    arm: str
    baseline: str
    region: str
    patients: int
    difference: Interval | None
    """Of mean Dice; None (undefined) where fewer than two patients have a score in both."""
    outcome: Outcome


def mean(scores: Iterable[Score], arm: str, region: str, confidence: float) -> tuple[Interval | None, int]:
    """Mean Dice of an arm in a region, over patients and draws, and the number of patients."""
    table = _table(scores, arm, region)
    return two_way(table, confidence), len(table)


def compare(scores: Sequence[Score], study: Study, regions: Iterable[str]) -> list[Comparison]:
    """Every arm with batches against its baseline, region by region."""
    found = []
    for name, arm in study.arms.items():
        for region in regions if arm.baseline else ():
            pairs = _paired(scores, name, str(arm.baseline), region)
            difference = two_way(pairs, study.confidence)
            outcome = outcome_of(difference, study.margin)
            found.append(Comparison(name, str(arm.baseline), region, len(pairs), difference, outcome))
    return found


def _values(scores: Iterable[Score], arm: str, region: str) -> dict[tuple[str, int], float]:
    """(patient, draw) → Dice, a patient's several cases averaged."""
    found: dict[tuple[str, int], list[float]] = {}
    for score in scores:
        if score.arm == arm and score.region == region and score.dice is not None:
            found.setdefault((score.patient, score.draw), []).append(score.dice)
    return {key: float(np.mean(values)) for key, values in found.items()}


def _table(scores: Iterable[Score], arm: str, region: str) -> np.ndarray:
    """[patient, draw] of the patients that have a score in every draw."""
    return _rectangle(_values(scores, arm, region))


def _paired(scores: Sequence[Score], arm: str, baseline: str, region: str) -> np.ndarray:
    ours, theirs = _values(scores, arm, region), _values(scores, baseline, region)
    return _rectangle({key: ours[key] - theirs[key] for key in ours if key in theirs})


def _rectangle(values: Mapping[tuple[str, int], float]) -> np.ndarray:
    draws = sorted({draw for _, draw in values})
    patients = [p for p in dict.fromkeys(patient for patient, _ in values) if all((p, d) in values for d in draws)]
    return np.array([[values[p, d] for d in draws] for p in patients]).reshape(len(patients), len(draws))


def as_metrics(scores: Sequence[Score], study: Study, regions: Sequence[str], arms: Sequence[str]) -> dict[str, Any]:
    """What `dvc metrics show` prints: per arm and region the mean with its interval, and each comparison's outcome."""
    out: dict[str, Any] = {}
    for arm in arms:
        for region in regions:
            out.setdefault(arm, {})[region] = told(scores, arm, region, study.confidence)
    for found in compare(scores, study, regions):
        out[found.arm][found.region] |= {
            "against": found.baseline,
            "difference": shown(found.difference),
            "outcome": found.outcome,
        }
    return out


def told(scores: Sequence[Score], arm: str, region: str, confidence: float) -> dict[str, Any]:
    """Mean Dice with its interval and the patients who have the region; those without it, and where it is found."""
    interval, patients = mean(scores, arm, region, confidence)
    others = [s for s in scores if (s.arm, s.region) == (arm, region) and s.false_voxels is not None]
    return shown(interval) | {
        "patients": patients,
        "without": len({score.patient for score in others}),
        "found_falsely": len({score.patient for score in others if score.false_voxels}),
    }


def shown(interval: Interval | None) -> dict[str, Any]:
    """An interval as metrics; a mean that cannot be computed is said to be undefined."""
    if interval is None:
        return {"dice": "undefined"}
    return {"dice": round(interval.mean, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}
