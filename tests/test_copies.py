import numpy as np
import pytest
from tiny_measured import changed, numbers, reference, trial

from synthgate.gate import copies
from synthgate.gate.copies import Search, margins, sensitivity
from synthgate.gate.measured import stack

REFERENCE = trial(numbers(1, 5, "synthetic", images=True), reference(images=True)).reference
TRAIN = REFERENCE.rows(REFERENCE.split == "train")
RATE = 1e-3


def shown(images, groups=None, people=None, real=REFERENCE):
    """A search, and a batch of these thumbnails; `groups` are who is behind them, `people` whom it declares."""
    table = numbers(len(images), 90, "synthetic", images=True)
    names = np.array(groups if groups is not None else table.case)
    said = np.array(people if people is not None else [""] * len(images))
    before = trial(changed(table, thumbnail=images), real)
    return Search(before.reference, before.rendered), changed(before.batch, group=names, people=said)


def suspects(images, rate=RATE, **known):
    search, table = shown(images, **known)
    return search.suspects(table, rate)


def test_the_margin_is_to_the_second_patient_or_the_third_not_to_the_second_image():
    alike = np.array([[0.9, 0.8, 0.3, 0.1], [-np.inf, 0.2, 0.95, -np.inf]])
    groups = np.array(["a", "a", "b", "c"])
    found, row = margins(alike, groups, 1)
    assert found.tolist() == pytest.approx(np.arctanh([0.9, 0.95]) - np.arctanh([0.3, 0.2])) and row.tolist() == [0, 2]
    found, row = margins(alike, groups, 2)
    assert found[0] == pytest.approx(np.arctanh(0.9) - np.arctanh(0.1))
    assert np.isnan(found[1]) and row.tolist() == [0, -1], "one of three is not compared"


@pytest.mark.parametrize("patients", [0, 1, 2])
def test_margins_among_too_few_patients_are_undefined(patients):
    found, row = margins(np.ones((3, patients)), np.array([f"p{i}" for i in range(patients)]), 2)
    assert np.isnan(found).all() and (row == -1).all()


@pytest.mark.parametrize("view", [1, -1], ids=["exact", "mirrored"])
def test_copies_are_found_by_every_score_and_named(view):
    found = suspects(TRAIN.thumbnail[:6, :, ::view])
    assert found.called.all()
    assert found.worst()[2].tolist() == TRAIN.group[:6].tolist()
    # a fold's encoder has its own patients as references, and nobody else
    for column, fold in enumerate((0, 1), start=2):
        assert ((found.margin > found.limit)[:, column] == (np.arange(6) % 2 == fold)).all()


def test_unseen_patients_are_not_called():
    assert suspects(numbers(80, 4321, "synthetic", images=True).thumbnail).called.sum() <= 1


def test_a_blend_of_two_patients_is_found_by_its_third_neighbour():
    half = ((TRAIN.thumbnail[3].astype(int) + TRAIN.thumbnail[9]) // 2).astype(np.uint8)
    found = suspects(half[None])
    registered, blended = ((found.margin > found.limit)[0, column] for column in (0, 1))
    assert blended and not registered
    assert found.worst()[2][0] in TRAIN.group[[3, 9]]


def test_nobody_is_an_example_of_the_unseen_to_an_encoder_that_saw_them():
    learned = REFERENCE.learned
    fold, same = np.arange(len(REFERENCE)) % 2, np.equal.outer(np.arange(len(REFERENCE)) % 2, REFERENCE.known_fold)
    assert np.isinf(learned[~same]).all() and np.isfinite(learned[same]).all()
    assert (REFERENCE.known_fold == fold[: len(TRAIN)]).all()


def test_an_honest_rendering_of_a_declared_donor_is_no_copy_but_a_copy_of_them_is():
    drawn = copies.rendered(TRAIN.thumbnail[:10], np.random.default_rng(77))
    names = TRAIN.group[:10].tolist()
    assert not suspects(drawn, people=names).called.any()
    assert suspects(TRAIN.thumbnail[:10], people=names).called.all()


def test_sensitivity_counts_the_right_patient_only():
    images = TRAIN.thumbnail[:4]

    def share(groups):
        return sensitivity(*shown(images, groups), RATE)

    assert share(TRAIN.group[:4]) == 1
    assert share([TRAIN.group[10]] * 4) == 0
    assert share([f"{g};x" for g in TRAIN.group[:2]] + ["x;y"] * 2) == 0.5
    search, table = shown(images)
    assert sensitivity(search, table.rows(np.arange(0)), RATE) is None


def test_images_that_show_nothing_are_undefined_and_never_pass():
    images = np.stack([np.zeros_like(TRAIN.thumbnail[0]), np.full_like(TRAIN.thumbnail[0], 9), TRAIN.thumbnail[0]])
    found = suspects(images)
    assert found.undefined.tolist() == [True, True, False] and found.called.tolist() == [False, False, True]


@pytest.mark.parametrize("patients", [0, 1, 2, 5])
def test_among_too_few_patients_nothing_is_known(patients):
    found = suspects(TRAIN.thumbnail[:3], real=TRAIN.rows(np.arange(patients)))
    assert found.undefined.all() and not found.called.any()


def test_identical_patients_are_undefined_not_passed():
    same = changed(REFERENCE, thumbnail=np.repeat(TRAIN.thumbnail[:1], len(REFERENCE), axis=0))
    assert suspects(numbers(5, 3, "synthetic", images=True).thumbnail, real=same).undefined.all()


def test_patients_known_under_two_names_leave_no_limit():
    twice = stack([TRAIN, changed(TRAIN, group=np.char.add(TRAIN.group, "-again"))])
    assert suspects(TRAIN.thumbnail[:2], real=twice).undefined.all()


def test_a_case_is_undefined_where_the_scores_that_know_its_nearest_patient_tell_nothing():
    # registered, blended, and two folds; the second fold does not know the patient it is nearest to
    margin, blind = np.array([[7.1, 7.0, 7.0, 0.1]]), np.inf
    for limit, undefined in (
        ([blind, blind, blind, 3.0], True),
        ([blind, blind, 3.0, 3.0], False),
        ([9.0, blind, blind, blind], False),
    ):
        assert copies.Suspects(margin, np.array([limit]), np.zeros((1, 4), str)).undefined[0] == undefined
