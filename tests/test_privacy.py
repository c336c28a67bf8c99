import dataclasses

import numpy as np
import pytest
from tiny_measured import PARAMS, batch, changed, numbers, reference, trial

from synthgate.features.thumbnails import fingerprint
from synthgate.gate import privacy
from synthgate.gate.measured import stack

REFERENCE = reference(images=True)
TRAIN = REFERENCE.rows(REFERENCE.split == "train")
BATCH = batch(12, images=True)


def judged(table, real=REFERENCE):
    return {f.name: f for f in privacy.judge(trial(table, real))}


def with_image(image, row=4, table=BATCH):
    images = table.thumbnail.copy()
    images[row] = image
    return changed(table, thumbnail=images)


def with_shape(shape, row=4, table=BATCH):
    shapes = table.shape.copy()
    shapes[row] = shape
    return changed(table, shape=shapes)


def noisy(image):
    """A little noise within the head."""
    rng = np.random.default_rng(0)
    return np.where(image > 0, np.clip(image + rng.normal(0, 4, image.shape), 1, 255), 0).astype(np.uint8)


def test_similarity_is_the_mean_correlation_as_it_is_or_mirrored():
    few = TRAIN.rows(np.arange(5))
    found = privacy.similarities(privacy.prints(BATCH.rows(np.arange(3))), privacy.prints(few))
    for i in range(3):
        for j in range(5):
            views = []
            for small in (BATCH.thumbnail[i], BATCH.thumbnail[i][:, ::-1]):
                pairs = zip(fingerprint(small), fingerprint(few.thumbnail[j]), strict=True)
                views.append(np.mean([a @ b for a, b in pairs]))
            assert found[i, j] == pytest.approx(max(views), abs=1e-5)


def test_the_margin_is_to_the_second_patient_not_to_the_second_image():
    alike = np.array([[0.9, 0.8, 0.3], [0.2, 0.3, 0.95]])
    train = TRAIN.rows(np.arange(3))
    train = changed(train, group=np.array(["a", "a", "b"]))
    found, nearest = privacy.margins(alike, np.array(["", "b"]), train)
    assert found[0] == pytest.approx(np.arctanh(0.9) - np.arctanh(0.3))
    assert nearest.tolist() == [0, 1]
    assert np.isnan(found[1]), "only one other patient"


def test_honest_batches_are_not_refused():
    refused = 0
    for seed in range(10):
        found = judged(batch(12, 700 + seed, images=True))
        refused += any(f.bad for f in found.values())
    assert refused == 0


@pytest.mark.parametrize(("view", "declared"), [
    (lambda image: image, True), (lambda image: image[:, ::-1], True), (lambda image: image, False),
    (lambda image: image[:, ::-1], False),
    (noisy, False),
], ids=["exact declared", "mirrored declared", "exact", "mirrored", "noisy"])  # fmt: skip
def test_a_copy_is_flagged_with_the_right_patient_and_nothing_else_is(view, declared):
    table = BATCH if declared else changed(BATCH, people=np.full(12, ""))
    finding = judged(with_image(view(TRAIN.thumbnail[7]), table=table))["image_copies"]
    assert (finding.outcome, finding.weight) == ("failed", "thins")
    assert finding.cases == (str(BATCH.case[4]),)
    assert f"{BATCH.case[4]} (nearest patient {TRAIN.group[7]})" in finding.sentence
    assert finding.value > finding.limit


def test_a_noisy_copy_of_somebody_undeclared_is_found_beside_declared_donors():
    assert TRAIN.group[41] not in BATCH.people
    finding = judged(with_image(noisy(TRAIN.thumbnail[41])))["image_copies"]
    assert finding.cases == (str(BATCH.case[4]),)
    assert "declared donor" in finding.origin


def test_to_be_far_from_everybody_else_makes_nobody_a_copy():
    alike, own = np.array([[0.5, 0.1, 0.2], [0.9, 0.4, 0.2]]), np.array(["", ""])
    few = TRAIN.rows(np.arange(3))
    plain, floored = (privacy.margins(alike, own, few, usual)[0] for usual in (-np.inf, np.arctanh(0.3)))
    assert plain[0] == pytest.approx(np.arctanh(0.5) - np.arctanh(0.2))
    assert floored[0] == pytest.approx(np.arctanh(0.5) - np.arctanh(0.3)) and floored[1] == plain[1]


def test_a_copy_of_the_declared_donor_is_a_copy():
    row = int(np.flatnonzero(TRAIN.group == BATCH.people[4])[0])
    finding = judged(with_image(TRAIN.thumbnail[row]))["image_copies"]
    assert finding.cases == (str(BATCH.case[4]),)


def test_training_patients_posing_as_synthetic_are_all_copies():
    posing = TRAIN.rows(np.arange(6))
    assert judged(posing)["image_copies"].cases == tuple(map(str, posing.case))


def test_unseen_patients_posing_as_synthetic_are_none():
    posing = numbers(12, 77, "synthetic", images=True)
    assert judged(posing)["image_copies"].outcome == "passed"


def test_limits_that_would_let_a_copy_pass_are_undefined():
    # every training patient is in it twice, under two names: no margin tells a copy
    twice = stack([TRAIN, changed(TRAIN, group=np.char.add(TRAIN.group, "-again"))])
    finding = judged(with_image(TRAIN.thumbnail[7]), twice)["image_copies"]
    assert finding.outcome == "undefined" and finding.bad


@pytest.mark.parametrize("patients", [0, 1, 5])
def test_too_few_patients_are_undefined(patients):
    found = judged(BATCH, TRAIN.rows(np.arange(patients)))
    assert found["image_copies"].outcome == "undefined"
    assert found["undeclared_anatomies"].outcome == "undefined"


def test_constant_images_do_not_crash():
    assert judged(with_image(np.full_like(BATCH.thumbnail[0], 9)))["image_copies"].outcome == "passed"


def test_the_anatomy_of_an_undeclared_patient_is_flagged():
    for shape in (TRAIN.shape[9], TRAIN.shape[9][::-1]):
        finding = judged(with_shape(shape))["undeclared_anatomies"]
        assert (finding.outcome, finding.weight) == ("failed", "rejects")
        assert finding.cases == (str(BATCH.case[4]),)
        assert f"{BATCH.case[4]} (patient {TRAIN.group[9]})" in finding.sentence


def test_the_anatomy_of_a_declared_patient_is_not():
    people = BATCH.people.astype("U80")
    people[4] = f"{people[4]};{TRAIN.group[9]}"
    table = changed(with_shape(TRAIN.shape[9]), people=people)
    assert judged(table)["undeclared_anatomies"].outcome == "passed"


def test_anatomies_are_not_judged_without_donors_or_without_shapes():
    assert judged(changed(BATCH, people=np.full(12, "")))["undeclared_anatomies"].outcome == "not_provided"
    assert judged(changed(BATCH, shape=np.zeros_like(BATCH.shape)))["undeclared_anatomies"].outcome == "not_applicable"


def test_both_tests_share_the_budget_of_all_cases(monkeypatch):
    rates = []
    monkeypatch.setattr(privacy, "tail_limit", lambda values, rate: rates.append(rate))
    privacy.judge(trial(BATCH, REFERENCE, params=dataclasses.replace(PARAMS, error_privacy=0.024)))
    assert set(rates) == {0.024 / 2 / 12}


def test_the_distance_ratio_informs():
    found = judged(with_image(TRAIN.thumbnail[7]))
    assert found["nndr_batch"].weight == "informs"
    assert 0.9 < found["nndr_unseen_patients"].value <= 1
