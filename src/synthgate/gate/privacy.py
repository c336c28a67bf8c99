"""Privacy: is a patient in it? Copies of images and of anatomies, case by case, against the whole training set."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from synthgate.features.thumbnails import fingerprint
from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome, Weight
from synthgate.stats.neighbours import distance_ratios, nearest_two
from synthgate.stats.tails import tail_limit

REJECTS: Weight = "rejects"
KNOTS = 6
"""Of the random curve that hides an image's contrast and keeps its anatomy."""
NOTICED = 0.95
"""Share of training patients an exact copy of whom must lie beyond the limit; else the limit can tell nothing."""
CLOSEST = 1 - 1e-6
"""Similarities are cut here, so that an exact copy has a finite margin."""


def judge(trial: Trial) -> list[Finding]:
    """Findings on image copies, on the nearest-neighbour distance ratio (informs), and on undeclared anatomies."""
    batch, reference, params, train, unseen = trial.batch, trial.reference, trial.params, trial.train, trial.unseen
    rate = params.error_privacy / 2 / max(len(batch), 1)  # images and anatomies share the budget
    right = prints(train)
    alike = {"batch": similarities(prints(batch), right), "unseen_patients": similarities(prints(unseen), right)}
    among = similarities(right, right)
    usual = _usual(among, train)
    nobody = np.full(len(train), "")
    copied = margins(among, nobody, train, usual)[0]
    patients = [
        margins(alike["unseen_patients"], unseen.group, train, usual)[0],
        margins(among, train.group, train, usual)[0],
    ]
    apart = [np.concatenate(patients)]
    limits = {"undeclared": _limit(apart, copied, rate)}
    if any(batch.people):
        drawn = prints(rendered(train, np.random.default_rng([params.seed, 4])))
        apart.append(margins(similarities(drawn, right), nobody, train, usual)[0])
        limits["declared"] = _limit(apart, copied, rate)
    return [
        _copies(batch, train, alike["batch"], limits, usual, len(reference), rate),
        *_ratios(alike, unseen, train),
        _anatomies(batch, reference, rate),
    ]


def prints(table: Measured) -> np.ndarray:
    """Fingerprints of all cases, float32 [case, channel, *grid]."""
    shape = table.thumbnail.shape
    return np.array([fingerprint(small) for small in table.thumbnail], np.float32).reshape(shape)


def similarities(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[row, other] of two tables' prints: mean correlation over channels, the better of as it is and mirrored."""
    views = [_flat(view) @ _flat(right).T for view in (left, left[:, :, ::-1])]
    return np.maximum(*views).astype(float) / left.shape[1]


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


def margins(
    alike: np.ndarray, own: np.ndarray, train: Measured, usual: float = -math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Per row: atanh(similarity to the nearest training patient) − atanh(to the nearest *other* one), and that case.

    `alike` is [row, training patient]; `own` [row] are the patients to leave out of a row's search. The other one
    counts as at least `usual`: to be far from everybody else makes nobody a copy. NaN where there are fewer than two
    training patients.
    """
    first, second, index = _nearest(alike, own, train)
    return first - np.maximum(second, usual), index


def _nearest(alike: np.ndarray, own: np.ndarray, train: Measured) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per row: atanh of the similarity to the nearest training patient and to the nearest other one; the nearest."""
    near = nearest_two(-np.clip(alike, -CLOSEST, CLOSEST), own, train.group)
    first, second = (
        np.where(np.isfinite(d), np.arctanh(-np.where(np.isfinite(d), d, 0)), np.nan) for d in (near.first, near.second)
    )
    return first, second, near.first_index


def _usual(among: np.ndarray, train: Measured) -> float:
    """The median training patient's similarity (atanh) to their second-nearest; −inf where there is none."""
    second = _nearest(among, train.group, train)[1]
    known = second[np.isfinite(second)]
    return float(np.median(known)) if len(known) else -math.inf


def rendered(train: Measured, rng: np.random.Generator) -> Measured:
    """The training anatomies in random contrasts: what a batch that honestly declares its donors may look like.

    Each channel's intensities go through a random piecewise linear curve.
    """
    knots = np.linspace(0, 255, KNOTS)
    images = np.empty_like(train.thumbnail)
    for row, small in enumerate(train.thumbnail):
        for channel, values in enumerate(small):
            curve = np.interp(np.arange(256), knots, rng.uniform(1, 255, KNOTS))
            images[row, channel] = np.where(small.max(axis=0) > 0, curve.astype(np.uint8)[values], 0)
    return dataclasses.replace(train, thumbnail=images)


def _limit(known: Sequence[np.ndarray], copied: np.ndarray, rate: float) -> float | None:
    """The highest tail limit of margins without a copy: of patients, and of declared anatomies where there are any.

    None where one is undefined, or where exact copies of the training patients (`copied`) would not lie beyond it.
    """
    limits = [tail_limit(values[np.isfinite(values)], rate) for values in known]
    highest = max((value for value in limits if value is not None), default=0.0)
    return None if None in limits or (copied > highest).mean() < NOTICED else highest


def _copies(
    batch: Measured,
    train: Measured,
    alike: np.ndarray,
    limits: Mapping[str, float | None],
    usual: float,
    known: int,
    rate: float,
) -> Finding:
    # nobody is left out of the search for a batch: a copy of a declared donor is a copy
    found, nearest = margins(alike, np.full(len(batch), ""), train, usual)
    if None in limits.values() or not np.isfinite(found).all():
        told = "Too few real patients, or too alike, to tell a copy from a likeness."
        return Finding("privacy", "image_copies", "undefined", "thins", told)
    theirs = [train.group[n] in people.split(";") for n, people in zip(nearest, batch.people, strict=True)]
    limit = np.array([limits["declared" if declared else "undeclared"] for declared in theirs], float)
    hits = np.flatnonzero(found > limit)
    named = [f"{batch.case[i]} (nearest patient {train.group[nearest[i]]})" for i in hits]
    told = (
        f"{len(hits)} of {len(batch)} images are as near to one patient as a copy would be: {', '.join(named[:5])}."
        if len(hits)
        else "No image is nearer to one patient than unseen patients are."
    )
    origin = (
        f"margin of {known} development patients to their nearest training patient; where the nearest is a declared "
        f"donor, also of training anatomies in random contrast to theirs; exponential tail extrapolated to a "
        f"false-positive rate of {rate:.1e} a case"
    )
    worst = int((found - limit).argmax())
    outcome: Outcome = "failed" if len(hits) else "passed"
    return Finding(
        "privacy", "image_copies", outcome, "thins", told, float(found[worst]), None, float(limit[worst]), origin,
        tuple(str(batch.case[i]) for i in hits),
    )  # fmt: skip


def _ratios(alike: Mapping[str, np.ndarray], unseen: Measured, train: Measured) -> list[Finding]:
    """NNDR of the batch beside that of unseen patients; informs."""
    out = []
    for name, values in alike.items():
        own = unseen.group if name == "unseen_patients" else np.full(len(values), "")
        found = distance_ratios(nearest_two(1 - values, own, train.group))
        value = None if found is None else float(np.median(found))
        shown = "undefined" if value is None else f"{value:.3f}"
        told = f"Nearest-neighbour distance ratio of {name.replace('_', ' ')}: median {shown}."
        outcome: Outcome = "undefined" if value is None else "passed"
        out.append(Finding("privacy", f"nndr_{name}", outcome, "informs", told, value))
    return out


def _anatomies(batch: Measured, reference: Measured, rate: float) -> Finding:
    """A lesion with the shape of a patient whom its case does not declare."""
    name, weight = "undeclared_anatomies", REJECTS
    if not any(batch.people):
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


def _shape_overlaps(rows: Measured, others: Measured) -> np.ndarray:
    """[row, other] soft Dice of lesions in their own boxes, the better of as it is and mirrored."""
    right = _flat(others.shape).astype(np.float32) / 255
    best = np.zeros((len(rows), len(others)))
    for view in (rows.shape, rows.shape[:, ::-1]):
        left = _flat(view).astype(np.float32) / 255
        total = (left**2).sum(1)[:, None] + (right**2).sum(1)[None]
        best = np.maximum(best, 2 * left @ right.T / np.maximum(total, 1e-9))
    return best
