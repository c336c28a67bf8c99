"""Privacy: is a patient in it? Copies of images and of anatomies, case by case, against the whole training set."""

import dataclasses

import numpy as np

from synthgate.features.thumbnails import fingerprint
from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Finding, Outcome, Weight
from synthgate.params import Gate
from synthgate.stats.neighbours import distance_ratios, nearest_two
from synthgate.stats.tails import tail_limit

REJECTS: Weight = "rejects"
KNOTS = 6
"""Of the random curve that hides an image's contrast and keeps its anatomy."""
CLOSEST = 1 - 1e-6
"""Similarities are cut here, so that an exact copy has a finite margin."""


def judge(batch: Measured, reference: Measured, params: Gate) -> list[Finding]:
    """Findings on image copies, on the nearest-neighbour distance ratio (informs), and on undeclared anatomies."""
    train, unseen = (reference.rows(reference.split == split) for split in ("train", "validation"))
    rate = params.error_privacy / max(len(batch), 1)
    return [
        _copies(batch, train, unseen, rate, params.seed),
        *_ratios(batch, train, unseen),
        _anatomies(batch, reference, rate),
    ]


def similarities(rows: Measured, others: Measured) -> np.ndarray:
    """[row, other]: mean correlation of fine structure over channels, the better of as it is and mirrored."""
    right = np.stack([fingerprint(small) for small in others.thumbnail])
    out = np.empty((len(rows), len(others)))
    for number, small in enumerate(rows.thumbnail):
        views = [fingerprint(view) for view in (small, small[:, ::-1])]
        out[number] = np.max([np.einsum("cv,ncv->n", view, right) / len(view) for view in views], axis=0)
    return out


def margins(rows: Measured, train: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Per row: atanh(similarity to the nearest training patient) − atanh(to the nearest *other* one), and that case.

    The row's own patient is left out. NaN where there are fewer than two training patients.
    """
    alike = np.clip(similarities(rows, train), -CLOSEST, CLOSEST)
    near = nearest_two(-alike, rows.people, train.group)
    first, second = (
        np.where(np.isfinite(d), np.arctanh(-np.where(np.isfinite(d), d, 0)), np.nan) for d in (near.first, near.second)
    )
    return first - second, near.first_index


def rendered(train: Measured, rng: np.random.Generator) -> Measured:
    """The training anatomies in random contrasts: what a batch that honestly declares its donors may look like.

    Each channel's intensities go through a random piecewise linear curve; the patient is no longer named.
    """
    knots = np.linspace(0, 255, KNOTS)
    images = np.empty_like(train.thumbnail)
    for row, small in enumerate(train.thumbnail):
        for channel, values in enumerate(small):
            curve = np.interp(np.arange(256), knots, rng.uniform(1, 255, KNOTS))
            images[row, channel] = np.where(small.max(axis=0) > 0, curve.astype(np.uint8)[values], 0)
    return dataclasses.replace(train, thumbnail=images, people=np.full_like(train.people, ""))


def _copies(batch: Measured, train: Measured, unseen: Measured, rate: float, seed: int) -> Finding:
    known = np.concatenate([margins(part, train)[0] for part in (unseen, train)])
    limits = [tail_limit(known[~np.isnan(known)], rate)]
    if any(batch.people):
        limits.append(tail_limit(margins(rendered(train, np.random.default_rng([seed, 4])), train)[0], rate))
    limit = None if None in limits else max(value for value in limits if value is not None)
    found, nearest = margins(batch, train)
    if limit is None or np.isnan(found).any():
        told = "Too few real patients to tell a copy from a likeness."
        return Finding("privacy", "image_copies", "undefined", "rejects", told)
    hits = np.flatnonzero(found > limit)
    named = [f"{batch.case[i]} (nearest patient {train.group[nearest[i]]})" for i in hits]
    told = (
        f"{len(hits)} of {len(batch)} images are as near to one patient as a copy would be: {', '.join(named[:5])}."
        if len(hits)
        else "No image is nearer to one patient than unseen patients are."
    )
    origin = (
        f"margin of {len(known)} development patients to their nearest training patient, and of declared anatomies in "
        f"random contrast to theirs; exponential tail extrapolated to a false-positive rate of {rate:.1e} a case"
    )
    cases = tuple(str(batch.case[i]) for i in hits)
    outcome: Outcome = "failed" if cases else "passed"
    return Finding("privacy", "image_copies", outcome, "rejects", told, float(found.max()), None, limit, origin, cases)


def _ratios(batch: Measured, train: Measured, unseen: Measured) -> list[Finding]:
    """NNDR of the batch beside that of unseen patients; informs."""
    out = []
    for name, rows in (("batch", batch), ("unseen_patients", unseen)):
        found = distance_ratios(nearest_two(1 - similarities(rows, train), rows.people, train.group))
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
    ours, real = (
        part.rows(np.flatnonzero(part.shape.reshape(len(part), -1).any(axis=1))) for part in (batch, reference)
    )
    apart = nearest_two(-_shape_overlaps(real, real), real.group, real.group)
    limit = tail_limit(np.arctanh(np.clip(-apart.first[np.isfinite(apart.first)], 0, CLOSEST)), rate)
    if limit is None:
        told = "Too few real lesions to tell a patient's shape from a likeness."
        return Finding("privacy", name, "undefined", weight, told)
    overlaps = np.arctanh(np.clip(_shape_overlaps(ours, real), 0, CLOSEST)) if len(ours) else np.zeros((0, len(real)))
    declared = np.array([[who in people.split(";") for who in real.group] for people in ours.people]).reshape(
        overlaps.shape
    )
    foreign = np.where(declared, -np.inf, overlaps)
    hits = np.flatnonzero((foreign > limit).any(axis=1))
    named = [f"{ours.case[i]} (patient {real.group[foreign[i].argmax()]})" for i in hits]
    told = (
        f"{len(hits)} lesions have the shape of a patient whom their case does not declare: {', '.join(named[:5])}."
        if len(hits)
        else "No lesion has the shape of a patient whom its case does not declare."
    )
    value = float(foreign.max()) if foreign.size and np.isfinite(foreign.max()) else None
    origin = f"overlap of {len(real)} real lesions with the most alike one of another patient, tail extrapolated"
    cases = tuple(str(ours.case[i]) for i in hits)
    return Finding("privacy", name, "failed" if cases else "passed", weight, told, value, None, limit, origin, cases)


def _shape_overlaps(rows: Measured, others: Measured) -> np.ndarray:
    """[row, other] soft Dice of lesions in their own boxes, the better of as it is and mirrored."""
    right = others.shape.reshape(len(others), -1).astype(np.float32) / 255
    best = np.zeros((len(rows), len(others)))
    for view in (rows.shape, rows.shape[:, ::-1]):
        left = view.reshape(len(rows), -1).astype(np.float32) / 255
        total = (left**2).sum(1)[:, None] + (right**2).sum(1)[None]
        best = np.maximum(best, 2 * left @ right.T / np.maximum(total, 1e-9))
    return best
