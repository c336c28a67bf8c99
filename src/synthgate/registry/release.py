"""Which candidate becomes the release: chosen on validation, then measured once on the hold-out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthgate.cohort.store import StoredCase
from synthgate.learning.scoring import Overlap
from synthgate.params import StudyRow
from synthgate.study.evidence import scores_of, told

Scorer = Callable[[StoredCase], Mapping[str, Overlap]]


@dataclass(frozen=True)
class Choice:
    """The chosen arm and why."""

    arm: str
    decision: str
    """In sentences."""


def choose(row: StudyRow, metrics: Mapping[str, Any], allowed: Mapping[str, bool]) -> Choice:
    """Choose among `release.candidates` by the study's metrics on validation.

    An arm with batches is released only if every batch is allowed in its share (`allowed`), it gains over its real-only
    baseline in the largest region, and no region shows harm; of several, the one with the largest gain. Else the
    first candidate, real-only.
    """
    fallback, *others = row.release.candidates
    primary = next(iter(row.cohort.regions))
    reasons, gains = [], {}
    for name in others:
        found = metrics[name]
        harmed = [region for region in row.cohort.regions if found[region].get("outcome") == "harm"]
        told = f"{name}: {found[primary].get('outcome')} against {row.study.arms[name].baseline} in {primary}"
        if not row.study.arms[name].batches:
            reasons.append(f"{name} is real-only, and {fallback} stands before it")
        elif not allowed[name]:
            reasons.append(f"{name} may not be released: the gate does not allow its batches in that share")
        elif harmed:
            reasons.append(f"{told}; harm in {', '.join(harmed)}")
        elif found[primary].get("outcome") == "gain":
            gains[name] = found[primary]["difference"]["dice"]
            reasons.append(told)
        else:
            reasons.append(told)
    arm = max(gains, key=lambda name: gains[name]) if gains else fallback
    why = "the largest shown gain on validation" if gains else "nothing that may be released was shown to beat it"
    return Choice(arm, ". ".join([f"Released is {arm}: {why}", *reasons]) + ".")


def measure(
    cases: Sequence[StoredCase], score: Scorer, regions: Sequence[str], confidence: float, k: int
) -> dict[str, Any]:
    """Mean Dice per region over hold-out patients, with intervals at the error (1 - confidence)/k for opening k.

    Patients without a region are counted apart.
    """
    scores = [one for case in cases for one in scores_of("hold-out", 0, case.patient, score(case))]
    return {region: told(scores, "hold-out", region, 1 - (1 - confidence) / k) for region in regions}
