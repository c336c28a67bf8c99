"""Utility: does the batch help on real patients? Probe trainings with and without it, on validation, equal compute."""

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from synthgate.cohort.store import Store
from synthgate.files import read_json, write_json
from synthgate.gate.verdict import Axis, Finding, Weight
from synthgate.learning import weights
from synthgate.learning.regions import Regions
from synthgate.learning.sampler import Pool, Sampler
from synthgate.learning.scoring import score
from synthgate.learning.segmenter import build, predict
from synthgate.params import Probe, Segmenter
from synthgate.progress import tracked
from synthgate.scratch import Scratch
from synthgate.stats.intervals import two_way
from synthgate.stats.outcomes import Outcome, outcome_of

AXIS: Axis = "utility"
WORDS: dict[Outcome, str] = {
    "gain": "helps",
    "no harm": "does no harm",
    "harm": "does harm",
    "inconclusive": "cannot be told to help or harm",
}


def probe(
    real: Store,
    batch: Store,
    left_out: Collection[str],
    regions: Regions,
    params: Probe,
    segmenter: Segmenter,
    scratch: Scratch,
) -> list[Finding]:
    """Per region, the Dice of validation patients with a share of the batch in the training against without it.

    Both are trained for the same steps, in `params.draws` pairs of equal seed. Harm in any region rejects; an
    inconclusive first region limits.
    """
    people = real.select("train")
    kept = [case for case in batch.cases if case.case not in left_out]
    arms = {
        "real": [Pool(real, people, 1.0)],
        "mixed": [Pool(real, people, 1.0 - params.share), Pool(batch, kept, params.share)],
    }
    scores = {
        arm: np.stack([_scores(f"{arm}-{draw}", pools, real, regions, segmenter, draw, scratch)
                       for draw in range(params.draws)], axis=2)
        for arm, pools in arms.items()
    }  # fmt: skip
    apart = scores["mixed"] - scores["real"]
    return [_finding(name, apart[:, index], params, first=not index) for index, name in enumerate(regions)]


def _scores(
    name: str, pools: Sequence[Pool], real: Store, regions: Regions, segmenter: Segmenter, draw: int, scratch: Scratch
) -> np.ndarray:
    """Dice [validation case, region] of one training, NaN where the patient has no such region."""

    from synthgate.learning.fitting import trained  # Lightning takes seconds

    def make(path: Path) -> None:
        folder = trained(scratch, name, Sampler(pools, regions, segmenter, draw), len(real.channels))
        network = weights.load(build(segmenter, len(real.channels), len(regions)), folder)
        answer = functools.partial(predict, network, params=segmenter)
        cases = real.select("validation")
        shown = tracked(cases, len(cases), f"score {name}", "volumes")
        rows = [score(answer, real, case, regions) for case in shown]
        write_json(path, [[one.dice for one in row.values()] for row in rows])

    rows = read_json(scratch.once(f"{name}.json", make))
    return np.array([[np.nan if value is None else value for value in row] for row in rows])


def _finding(region: str, apart: np.ndarray, params: Probe, first: bool) -> Finding:
    """From differences [case, draw] in one region."""
    known = apart[~np.isnan(apart).any(axis=1)]
    interval = two_way(known, params.confidence)
    found = outcome_of(interval, params.margin)
    weight: Weight = "rejects" if found == "harm" else "limits" if first else "informs"
    bad = found == "harm" or found == "inconclusive"
    told = f"{region}: a training with {params.share:.0%} of it {WORDS[found]}"
    if interval is None:
        return Finding(AXIS, f"probe_{region}", "undefined", weight, f"{told}: too few patients to score.")
    told += f" (Dice {interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}], {len(known)} patients)."
    origin = f"margin {params.margin:g}, {params.draws} pairs of trainings of {params.steps} steps"
    return Finding(
        AXIS, f"probe_{region}", "failed" if bad else "passed", weight, told, interval.mean,
        (interval.low, interval.high), -params.margin, origin,
    )  # fmt: skip
