import itertools

import numpy as np
import pytest
import torch
from tiny_store import REGIONS, segmenter
from torch import nn

from synthgate.errors import CohortError, LineageError
from synthgate.learning import crossfit
from synthgate.learning.crossfit import CrossFitted
from synthgate.learning.sampler import Sampler
from synthgate.scratch import Scratch

PEOPLE = [f"p{n}" for n in range(11)]


class Says(nn.Module):
    """Answers the same logit everywhere."""

    def __init__(self, probability):
        super().__init__()
        self.logit = float(np.log(probability / (1 - probability)))

    def forward(self, image):
        return torch.full((len(image), 1, *image.shape[2:]), self.logit)


FITTED = CrossFitted([Says(0.1), Says(0.2), Says(0.9)], {"a": 0, "b": 1, "c": 2, "a2": 0}, segmenter())


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_of_nearly_equal_size_and_hang_on_order_and_seed(folds):
    fold_of = crossfit.assign(PEOPLE, folds, 0)
    sizes = np.bincount(list(fold_of.values()), minlength=folds)
    assert sizes.sum() == 11 and sizes.max() - sizes.min() <= 1
    assert crossfit.assign([name for name in PEOPLE for _ in "12"], folds, 0) == fold_of, "two cases, one patient"
    assert len({tuple(crossfit.assign(PEOPLE, folds, seed).values()) for seed in range(8)}) > 4
    renamed = crossfit.assign([f"other{n}" for n in range(11)], folds, 0)
    assert list(renamed.values()) == list(fold_of.values())


def test_too_few_patients_are_refused():
    with pytest.raises(CohortError, match="3 patients are too few for 2 folds; need at least 4"):
        crossfit.assign(["a", "b", "c", "a"], 2, 0)


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        (("a",), 0.1),
        (("b",), 0.2),
        (("c",), 0.9),
        (("a", "a2"), 0.1),
        (("a", "c"), 0.2),
        (("a", "b", "c"), 0.2),
        ((), 0.2),
    ],
)
def test_each_is_answered_by_the_fold_that_did_not_see_them_and_spread_donors_by_the_median(people, expected):
    answer = FITTED.predict(np.zeros((1, 16, 16, 2), np.float32), people)
    assert answer.shape == (1, 16, 16, 2)
    assert answer == pytest.approx(np.full(answer.shape, expected), abs=1e-6)


def test_a_person_the_folds_do_not_know_is_refused():
    with pytest.raises(LineageError, match="patient zoe is in no fold"):
        FITTED.predict(np.zeros((1, 16, 16, 2), np.float32), ("a", "zoe"))


@pytest.mark.usefixtures("one_thread", "one_process")
def test_nobody_is_predicted_by_a_network_that_saw_them(tiny, tmp_path, monkeypatch):
    seen = []

    class Watched(Sampler):
        def __init__(self, pools, *rest):
            super().__init__(pools, *rest)
            seen.append({case.patient for pool in pools for case in pool.cases})

    monkeypatch.setattr(crossfit, "Sampler", Watched)
    cases = tiny.select("train", "validation")
    fold_of = crossfit.assign([case.patient for case in cases], 2, 0)
    params = segmenter(steps=2)
    with Scratch.opened("judge", {}, root=tmp_path) as scratch:
        folders = crossfit.cross_fit(tiny, cases, REGIONS, params, fold_of, 0, scratch)
        fitted = crossfit.load(folders, fold_of, 2, 2, params)
    assert len(fitted.networks) == len(seen) == 2
    everybody = {case.patient for case in cases}
    for name in everybody:
        assert name not in seen[fold_of[name]]
        assert seen[fold_of[name]] == {other for other in everybody if fold_of[other] != fold_of[name]}
    for fold, case in itertools.product(range(2), cases[:2]):
        if fold_of[case.patient] == fold:
            alone = CrossFitted([fitted.networks[fold]], dict.fromkeys(everybody, 0), params)
            image = tiny.image(case)
            assert np.array_equal(fitted.predict(image, case.people), alone.predict(image, case.people))
