"""Agreement: do image and label belong together? By a model trained on real patients, and without any model."""

import numpy as np

from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome, Weight
from synthgate.stats.intervals import difference, t_interval

REJECTS: Weight = "rejects"
BINS = 12
"""Intensity bins of the mutual information."""
LEAST = 20
"""Thumbnail voxels of a lesion below which its information is not measured."""


def judge(trial: Trial) -> list[Finding]:
    """Per region the judge model's Dice against that on unseen patients; and information against permuted labels.

    A model trained on real images fails correct randomised ones, so `training-only` is rejected by the second alone.
    """
    error = trial.params.error_rejecting / 2
    findings = [_by_model(trial, index, name, error / len(trial.regions)) for index, name in enumerate(trial.regions)]
    return [*findings, _by_information(trial.batch, trial.params.seed, error)]


def _by_model(trial: Trial, index: int, region: str, error: float) -> Finding:
    """The batch's Dice against that on unseen patients: fails where it is shown to be worse, by more than the margin.

    To demand that non-inferiority be shown refuses honest batches at the sizes at hand, whose interval is wider than
    the margin; a difference within the noise is therefore not refused.
    """
    weight, margin = trial.weight("rejects"), trial.params.agreement_margin
    ours, real = (part.by_group(index) for part in (trial.batch, trial.reference))
    found = difference(ours, real, 1 - 2 * error)
    if found is None:
        outcome: Outcome = "undefined" if len(real) else "not_applicable"
        told = f"{region}: too few cases with it to compare the judge model's Dice."
        return Finding("agreement", f"dice_{region}", outcome, weight, told)
    bad = found.mean < -margin and found.high < 0
    told = (
        f"{region}: the judge reaches Dice {ours.mean():.2f} on the batch and {real.mean():.2f} on unseen patients; "
        f"{'worse by more than' if bad else 'not shown to be worse by'} {margin:g}."
    )
    origin = f"out-of-fold Dice of {len(real)} development patients, margin {margin:g}, and shown to be worse"
    outcome = "failed" if bad else "passed"
    interval = (found.low, found.high)
    smallest = found.smallest(margin, error)
    return Finding(
        "agreement", f"dice_{region}", outcome, weight, told, found.mean, interval, -margin, origin, smallest=smallest
    )


def _by_information(batch: Measured, seed: int, error: float) -> Finding:
    """Whether the images tell more about their own labels than about other cases' labels.

    Each case's mutual information of intensity and label, ranked among those with all other cases' labels put into the
    same head; the mean rank share must be shown to exceed one half, which it is where labels are shuffled. A large
    lesion tells much in any head, so each label's mean over all heads is taken off first.
    """
    name, weight = "information", REJECTS
    lesions = batch.outline.reshape(len(batch), -1) > 127
    usable = np.flatnonzero(lesions.sum(axis=1) >= LEAST)
    sick = int((~np.isnan(batch.inside)).sum())
    if len(usable) < max(3, sick / 2):
        told = (
            f"{len(usable)} of {sick} cases with a lesion have one of {LEAST} thumbnail voxels: too few to test "
            f"whether images and labels belong together."
        )
        return Finding("agreement", name, "undefined", weight, told)
    rng = np.random.default_rng([seed, 3])
    values = np.stack([information(batch.thumbnail[row], lesions[usable]) for row in usable])
    values = values - values.mean(axis=0) + rng.random(values.shape) * 1e-12  # ties fall at random
    shares = (np.diag(values)[:, None] > values).sum(axis=1) / (len(usable) - 1)
    groups = batch.group[usable]
    by_group = np.array([shares[groups == group].mean() for group in np.unique(groups)])
    found = t_interval(by_group, 1 - 2 * error)
    if found is None:
        told = "Too few donors to test whether images and labels belong together."
        return Finding("agreement", name, "undefined", weight, told)
    bad = found.low <= 0.5
    told = (
        f"An image tells more about its own label than about {found.mean:.0%} of other cases' labels; "
        f"{'no more than' if bad else 'more than'} by chance (50 %)."
    )
    cases = tuple(str(batch.case[row]) for row, share in zip(usable, shares, strict=True) if share < 0.5)
    return Finding(
        "agreement", name, "failed" if bad else "passed", weight, told, found.mean,
        (found.low, found.high), 0.5, "labels of other cases in the same head", cases,
    )  # fmt: skip


def information(thumbnail: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    """Mutual information (nats, summed over channels) of intensity and each lesion mask within the head.

    `thumbnail` is uint8 [channel, *grid], `lesions` bool [lesion, voxel] → [lesion].
    """
    head = thumbnail.reshape(len(thumbnail), -1).max(axis=0) > 0
    inside = lesions[:, head].astype(np.float64)
    total = np.zeros(len(lesions))
    count = max(int(head.sum()), 1)
    share = inside.sum(axis=1) / count
    for channel in thumbnail.reshape(len(thumbnail), -1)[:, head]:
        edges = np.quantile(channel, np.linspace(0, 1, BINS + 1)[1:-1])
        bins = np.searchsorted(edges, channel, side="right")
        joint = inside @ np.eye(BINS)[bins] / count
        marginal = np.bincount(bins, minlength=BINS) / count
        for part, prior in ((joint, share), (marginal - joint, 1 - share)):
            expected = prior[:, None] * marginal
            known = (part > 1e-12) & (expected > 0)
            total += np.where(known, part * np.log(np.where(known, part, 1) / np.where(known, expected, 1)), 0).sum(
                axis=1
            )
    return total
