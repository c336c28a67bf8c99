"""Privacy: is a patient in it? Copies of images and of anatomies, case by case, against the whole training set."""

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np

from synthgate.gate.copies import CLOSEST, Search, Suspects, sensitivity
from synthgate.gate.likeness import prints
from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome, Weight, informing
from synthgate.generators.private import claim
from synthgate.stats.membership import authenticity, membership, smallest_leak
from synthgate.stats.neighbours import distance_ratios, nearest_two
from synthgate.stats.tails import tail_limit

REJECTS: Weight = "rejects"
DRAWS = 999
"""Of the control of membership inference."""


def judge(trial: Trial) -> list[Finding]:
    """Findings on copies and undeclared anatomies; smallest leak, nearness and membership inform."""
    batch, reference, rate = trial.batch, trial.reference, _rate(trial)
    search = Search(reference, trial.rendered)
    return [
        _copies(batch, search.suspects(batch, rate), search.null, len(reference), rate),
        _leak(batch, search, trial.copied, rate),
        *_nearness(trial, search),
        _membership(trial),
        _anatomies(batch, reference, rate, trial.public),
        _reuse(batch, trial.public),
        *promised(trial.promised, trial.public),
    ]


def promised(facts: Any, public: bool = False) -> list[Finding]:
    """The ε of a generator that was trained privately, as the batch's card has it; informs."""
    if facts is None:
        return []
    name, origin = "differential_privacy", "the card of its generator; it cannot be measured on images"
    try:
        spent, delta = float(facts["epsilon"]), float(facts["delta"])
    except (KeyError, TypeError, ValueError, OverflowError):
        spent = delta = math.nan
    if not (0 <= spent < math.inf and 0 < delta < 1):
        sentence = "Its card speaks of private training, but not of an ε and a δ."
        return [Finding("privacy", name, "undefined", "informs", sentence, origin=origin)]
    return [Finding("privacy", name, "passed", "informs", claim(spent, delta, public), spent, origin=origin)]


def suspects(trial: Trial) -> Suspects:
    """What the search for copies says of every case of the batch."""
    return Search(trial.reference, trial.rendered).suspects(trial.batch, _rate(trial))


def _rate(trial: Trial) -> float:
    """False positives per case; images and anatomies share the budget."""
    return trial.params.error_privacy / 2 / max(len(trial.batch), 1)


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


def _copies(batch: Measured, found: Suspects, null: tuple[float, float] | None, known: int, rate: float) -> Finding:
    hits, blind = np.flatnonzero(found.called), np.flatnonzero(found.undefined)
    margin, limit, nearest = found.worst()
    if len(blind) == len(batch):
        told = "Too few real patients, or too alike, to tell a copy from a likeness."
        return Finding("privacy", "image_copies", "undefined", "thins", told)
    outcome: Outcome = "passed"
    told = "No image is nearer to one patient than unseen patients are."
    if len(blind):
        outcome = "undefined"
        told = f"{len(blind)} of {len(batch)} images show nothing that could be compared: {_named(batch.case[blind])}."
    if len(hits):
        outcome = "failed"
        names = [f"{batch.case[i]} (nearest patient {nearest[i]})" for i in hits]
        told = f"{len(hits)} of {len(batch)} images are as near to one patient as a copy would be: {_named(names)}."
    origin = (
        f"margins of {known} development patients to their nearest training patient, registered, blended and learned; "
        f"where the nearest is a declared donor, also of training anatomies in random contrast to theirs; exponential "
        f"tail extrapolated to a false-positive rate of {rate:.1e} a case"
    )
    seen = np.flatnonzero(~found.undefined)
    worst = seen[(margin[seen] - limit[seen]).argmax()]
    cases = tuple(str(batch.case[i]) for i in sorted({*hits, *blind}))
    value, bound = float(margin[worst]), float(limit[worst])
    return Finding("privacy", "image_copies", outcome, "thins", told, value, None, bound, origin, cases, null)


def _named(names: object) -> str:
    return ", ".join(str(name) for name in list(names)[:5])  # type: ignore[call-overload]


def _leak(batch: Measured, search: Search, copied: Measured | None, rate: float) -> Finding:
    """How much could have leaked without being noticed; informs."""
    if copied is not None and not any(batch.people):
        copied = dataclasses.replace(copied, people=np.full(len(copied), ""))  # they declare their donors as it does
    share = None if copied is None else sensitivity(search, copied, rate)
    bound = smallest_leak(len(batch), share)
    told = "How many copies would have gone unnoticed is not known."
    if share is not None and bound is None:
        told = "No planted copy would have been found: a leak of any size would go unnoticed."
    elif share is not None and bound is not None:
        told = (
            f"Of copies mirrored, shifted or turned by 5° {share:.0%} are found, so that a leak of less than "
            f"{bound:.1%} of the batch may have gone unnoticed."
        )
    outcome: Outcome = "undefined" if bound is None else "passed"
    origin = "3 / (cases × sensitivity), at 95 %"
    return Finding("privacy", "smallest_leak", outcome, "informs", told, bound, None, None, origin)


def _nearness(trial: Trial, search: Search) -> list[Finding]:
    """Nearest-neighbour distance ratio and authenticity, beside those of unseen patients; they inform."""
    train, who = trial.train, trial.reference.known[search.columns]
    among = 1 - train.registered[:, search.columns]
    out = []
    for name, table in (("batch", trial.batch), ("unseen_patients", trial.unseen)):
        apart = 1 - table.registered[:, search.columns].astype(float)
        ratios = distance_ratios(nearest_two(apart, np.full(len(table), ""), who))
        words = name.replace("_", " ")
        told = f"Nearest-neighbour distance ratio of {words}: median"
        out.append(informing("privacy", f"nndr_{name}", None if ratios is None else float(np.median(ratios)), told))
        told = f"Share of {words} that are farther from their nearest training patient than another is"
        share = authenticity(apart, among, who) if np.isfinite(apart).all() else None
        out.append(informing("privacy", f"authenticity_{name}", share, told))
    return out


def _membership(trial: Trial) -> Finding:
    """Whether training patients are nearer to the batch than unseen ones; informs.

    By fingerprints as they are and mirrored: to lay every patient over every case would cost more than it tells.
    """
    ours = _flat(prints(trial.batch))
    near = []
    for table in (trial.train, trial.unseen):
        images = prints(table)
        views = [_flat(view) @ ours.T for view in (images, images[:, :, ::-1])]
        near.append(1 - np.maximum(*views).max(axis=1, initial=-1))
    found = membership(near[0], near[1], DRAWS, np.random.default_rng([trial.params.seed, 5]))
    if found is None:
        return informing("privacy", "membership", None, "Membership inference")
    told = (
        f"A training patient is nearer to the batch than an unseen one with probability {found.area:.2f}; members "
        f"against members: {found.control[0]:.2f} to {found.control[1]:.2f}."
    )
    return Finding("privacy", "membership", "passed", "informs", told, found.area, None, found.control[1])


def _anatomies(batch: Measured, reference: Measured, rate: float, public: bool) -> Finding:
    """A lesion with the shape of a patient whom its case does not declare; of any, where anatomies are `public`."""
    name, weight = "undeclared_anatomies", REJECTS
    if not (public or any(batch.people)):
        told = "It names no donors, so nothing can be said about undeclared ones."
        return Finding("privacy", name, "not_provided", weight, told)
    ours, real = (part.rows(np.flatnonzero(part.shape.any(axis=(1, 2, 3)))) for part in (batch, reference))
    if not len(ours):
        return Finding("privacy", name, "not_applicable", weight, "No lesion is large enough to be anybody's.")
    apart = nearest_two(-_shape_overlaps(real, real), real.group, real.group)
    limit = tail_limit(np.arctanh(np.clip(-apart.first[np.isfinite(apart.first)], 0, CLOSEST)), rate)
    if limit is None or limit >= np.arctanh(CLOSEST):
        told = "Too few real lesions to tell a patient's shape from a likeness."
        return Finding("privacy", name, "undefined", weight, told)
    overlaps = np.arctanh(np.clip(_shape_overlaps(ours, real), 0, CLOSEST))
    declared = np.array([[who in people.split(";") for who in real.group] for people in ours.people])
    foreign = np.where(declared, -np.inf, overlaps)
    hits = np.flatnonzero((foreign > limit).any(axis=1))
    named = [f"{ours.case[i]} (patient {real.group[foreign[i].argmax()]})" for i in hits]
    told = (
        f"{len(hits)} lesions have the shape of a patient whom their case does not declare: {', '.join(named[:5])}."
        if len(hits)
        else "No lesion has the shape of a patient whom its case does not declare."
    )
    value = float(foreign.max()) if np.isfinite(foreign.max()) else None
    origin = f"overlap of {len(real)} real lesions with the most alike one of another patient, tail extrapolated"
    cases = tuple(str(ours.case[i]) for i in hits)
    return Finding("privacy", name, "failed" if cases else "passed", weight, told, value, None, limit, origin, cases)


def _reuse(batch: Measured, public: bool) -> Finding:
    """How often the anatomies of few patients serve for many cases; informs, for reuse is no copy of an image."""
    name = "anatomy_reuse"
    if public:
        return Finding("privacy", name, "not_applicable", "informs", "By its card no patient's anatomy is in it.")
    if not any(batch.people):
        told = "It names no donors, so nothing can be said about how often they are used."
        return Finding("privacy", name, "not_provided", "informs", told)
    behind = [people.split(";") for people in batch.people if people]
    used = Counter(who for people in behind for who in set(people))
    most, times = max(sorted(used.items()), key=lambda pair: pair[1])  # of several the same in every run
    told = (
        f"The anatomies of {len(behind)} cases come from {len(used)} patients; most often, in {times} cases,"
        f" from {most}. They can be traced to their donors: the batch is for internal use."
    )
    return Finding("privacy", name, "passed", "informs", told, len(behind) / len(used))


def _shape_overlaps(rows: Measured, others: Measured) -> np.ndarray:
    """[row, other] soft Dice of lesions in their own boxes, the better of as it is and mirrored."""
    right = _flat(others.shape).astype(np.float32) / 255
    best = np.zeros((len(rows), len(others)))
    for view in (rows.shape, rows.shape[:, ::-1]):
        left = _flat(view).astype(np.float32) / 255
        total = (left**2).sum(1)[:, None] + (right**2).sum(1)[None]
        best = np.maximum(best, 2 * left @ right.T / np.maximum(total, 1e-9))
    return best
