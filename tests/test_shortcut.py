import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_measured import NAMES, batch, changed, reference, trial

from synthgate.gate import shortcut

REFERENCE = reference()
BATCH = batch(20)
SHARE = NAMES.index("WT_share")


def with_sizes(table, sizes):
    """The table with lesions of these shares of the head."""
    values = table.descriptors.copy()
    values[:, SHARE] = sizes
    return changed(table, descriptors=values)


def drawn(seed, count):
    return np.exp(np.random.default_rng(seed).normal(-3, 0.5, count))


REAL = with_sizes(REFERENCE, drawn(0, 60))


def judged(table, real=REAL):
    return {f.name: f for f in shortcut.judge(trial(table, real))}


def test_alike_sources_give_nothing_away():
    found = judged(with_sizes(BATCH, drawn(1, 20)))
    assert {f.outcome for f in found.values()} == {"passed"}
    assert found["source_told_apart"].value == pytest.approx(0.5, abs=0.2)


def test_honest_sources_are_hardly_ever_limited():
    bad = []
    for n in range(60):
        ours, real = with_sizes(batch(20, 900 + n), drawn(n + 5, 20)), with_sizes(reference(2 * n), drawn(n + 99, 60))
        bad.append(any(f.bad for f in judged(ours, real).values()))
    assert np.mean(bad) <= 0.1


def test_a_source_with_larger_lesions_gives_the_label_away():
    found = judged(with_sizes(BATCH, 3 * drawn(1, 20)))
    assert found["label_given_source"].outcome == "failed" and found["label_given_source"].weight == "limits"


def test_a_source_that_is_seen_and_has_larger_lesions_changes_the_prediction_when_swapped():
    seen = changed(with_sizes(BATCH, 6 * drawn(1, 20)), convolution=BATCH.convolution + 6)
    found = judged(seen)
    assert found["source_told_apart"].value > 0.95 and found["source_told_apart"].weight == "informs"
    assert found["label_given_source"].outcome == "failed"


def test_to_be_told_apart_is_no_harm_by_itself():
    bad, apart = 0, []
    for n in range(40):
        ours = with_sizes(batch(20, 900 + n), drawn(n + 5, 20))
        found = judged(changed(ours, convolution=ours.convolution + 6), with_sizes(reference(2 * n), drawn(n + 99, 60)))
        bad += any(f.bad for f in found.values())
        apart.append(found["source_told_apart"].value)
    assert min(apart) > 0.95 and bad <= 5


def test_the_smoother_is_ridge_regression():
    rng = np.random.default_rng(0)
    points, sizes, groups = rng.normal(size=(30, 4)), rng.normal(size=30), np.arange(30)
    order = GroupKFold(shortcut.FOLDS, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), Ridge(1.0))
    expected = cross_val_predict(model, points, sizes, groups=groups, cv=order)
    assert shortcut._smoother(points, groups) @ sizes == pytest.approx(expected)


def test_degenerate_batches():
    assert {f.outcome for f in judged(with_sizes(BATCH, drawn(1, 20)).rows(np.arange(1))).values()} == {"undefined"}
    flat = judged(with_sizes(BATCH, 0.05), with_sizes(REFERENCE, 0.05))
    assert {f.outcome for f in flat.values()} == {"not_applicable"}


def test_a_swap_changes_nothing_where_images_foretell_sizes_and_nobody_is_wrong():
    """The null of relabelled images, which foretell no size, must hold for images that do."""
    refused = 0
    for seed in range(60):
        rng = np.random.default_rng([77, seed])
        points = rng.normal(size=(80, 8))
        sizes = 0.7 * points[:, 0] + np.sqrt(1 - 0.7**2) * rng.normal(size=80)
        masks = np.arange(80)[None] < np.zeros((200, 1)) + 20
        masks[1:] = rng.permuted(masks[1:], axis=1)
        values = shortcut._swapped(points, np.arange(80), sizes, 20, masks, rng)
        refused += (values[1:] >= values[0]).mean() <= 0.04
    assert refused / 60 <= 0.1
