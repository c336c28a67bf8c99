"""Shortcut: can the source (real or synthetic) be told, and does it give away the label? (2407.21674)

Being told apart is no harm by itself. Harm needs both: a source that can be seen, and a label that goes with it.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from synthgate.gate import samples
from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, informing
from synthgate.stats.distances import quantile_distances_under
from synthgate.stats.nulls import step_down

FOLDS = 5
FAINT = -12.0
"""Log share of the head that stands for no lesion at all."""


def judge(trial: Trial) -> list[Finding]:
    """Whether source can be told (informs); whether label goes with it, and what a swap of source changes (limit)."""
    error = trial.params.error_rejecting
    results, told_apart = [], []
    reference = trial.reference.rows(np.unique(trial.reference.group, return_index=True)[1])  # one case of each
    for draw, chosen in enumerate(samples.draws(trial.batch, reference, trial.params)):
        batch = trial.batch.rows(chosen)
        masks = samples.labels(len(batch), reference, trial.params, draw, error)
        if masks is None:
            told = "Too few real or synthetic cases to tell whether source gives away the label."
            return [Finding("shortcut", "measurable", "undefined", "limits", told)]
        rows = np.concatenate([batch.convolution, reference.convolution])
        points = samples.Space.of(rows, trial.params.components)(rows)
        sizes = np.concatenate([_sizes(batch), _sizes(reference)])
        groups = np.unique(np.concatenate([batch.group, reference.group]), return_inverse=True)[1]
        if not np.isfinite(points).all():
            told = "A case cannot be placed among the patients: whether source gives away the label cannot be told."
            return [Finding("shortcut", "measurable", "undefined", "limits", told)]
        if np.ptp(sizes) == 0:
            told = "All labels are alike: no label can be given away."
            return [Finding("shortcut", "label_given_source", "not_applicable", "limits", told)]
        told_apart.append(_told_apart(points, masks[0], groups))
        rng = np.random.default_rng([trial.params.seed, draw, 6])
        swapped = _swapped(points, groups, sizes, len(batch), masks, rng)
        given = quantile_distances_under(sizes[:, None], masks)[:, 0]
        results.append(step_down(np.stack([given, swapped], axis=1), error))
    found = samples.median_of(results)
    out = []
    for index, (name, what) in enumerate(
        (
            ("label_given_source", "lesions as large in real and in synthetic cases"),
            ("source_swap", "the same lesion predicted from real and from synthetic images"),
        )
    ):
        outcome = samples.outcome(float(found.p[index]), float(found.limit[index]), error)
        sentence = f"{'Not ' if outcome == 'failed' else ''}{what} (p {found.p[index]:.3f})."
        origin = "permutation of patients, step-down maxT over both"
        figures = samples.figures(found, index)
        out.append(Finding("shortcut", name, outcome, "limits", _capital(sentence), origin=origin, **figures))
    known = [value for value in told_apart if value is not None]
    area = float(np.median(known)) if known else None
    what = "Area under the curve by which real and synthetic images are told apart (0.5: not at all)"
    return [*out, informing("shortcut", "source_told_apart", area, what)]


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _sizes(table: Measured) -> np.ndarray:
    """Log share of the head that is lesion, [case]."""
    share = table.descriptors[:, table.names.tolist().index(next(n for n in table.names if n.endswith("_share")))]
    return np.maximum(np.log(np.maximum(np.nan_to_num(share), 1e-9)), FAINT)


def _told_apart(points: np.ndarray, source: np.ndarray, groups: np.ndarray) -> float | None:
    """Cross-fitted area under the curve of a logistic classifier of source; nobody is in two folds."""
    folds = min(FOLDS, int(source.sum()))
    if folds < 2:
        return None
    order = GroupKFold(folds, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    if any(len(np.unique(source[train])) < 2 for train, _ in order.split(points, source, groups)):
        return None
    scores = cross_val_predict(model, points, source, groups=groups, cv=order, method="decision_function")
    return float(roc_auc_score(source, scores))


def _swapped(
    points: np.ndarray, groups: np.ndarray, sizes: np.ndarray, count: int, masks: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How much more a model trained on both sources predicts of one than of the other at equal size; [relabelling].

    The first `count` cases are the batch's. Images keep their source and are given other cases' sizes, so that the null
    holds for sources that are plainly visible too.
    """
    # those relabelled as the batch's give it their sizes, in any order; the first relabelling is the one observed
    order = np.argsort(rng.random(masks.shape) + ~masks, axis=1)
    order[0] = np.arange(len(sizes))
    given = sizes[order]
    predicted = given @ _smoother(points, groups).T
    centred, about = given - given.mean(axis=1, keepdims=True), predicted - predicted.mean(axis=1, keepdims=True)
    slope = (centred * about).sum(axis=1, keepdims=True) / (centred**2).sum(axis=1, keepdims=True)
    beyond = about - slope * centred
    ours, theirs = beyond[:, :count], beyond[:, count:]
    # relabelled images predict no size, and so vary less than those of the row observed: each is told in its own errors
    error = np.sqrt(ours.var(axis=1) / count + theirs.var(axis=1) / theirs.shape[1])
    return np.abs(ours.mean(axis=1) - theirs.mean(axis=1)) / np.maximum(error, 1e-12)


def _smoother(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[case, case] of cross-fitted ridge regression: its product with sizes predicts each from the others'."""
    folds = min(FOLDS, len(np.unique(groups)))
    out = np.zeros((len(points), len(points)))
    for train, test in GroupKFold(folds, shuffle=True, random_state=0).split(points, groups=groups):
        centre, scale = points[train].mean(axis=0), np.maximum(points[train].std(axis=0), 1e-9)
        x, new = (points[train] - centre) / scale, (points[test] - centre) / scale
        inner = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T)
        out[np.ix_(test, train)] = 1 / len(train) + new @ (inner - inner.mean(axis=1, keepdims=True))
    return out
