import dataclasses
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_measured import PARAMS, batch, changed, numbers, reference, trial

from synthgate import cards, params
from synthgate.cards import Card
from synthgate.gate import copies, privacy, run, suspects
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


def test_the_epsilon_on_the_card_is_told_with_what_it_does_not_cover():
    before = dataclasses.replace(trial(BATCH, REFERENCE), promised={"epsilon": 3.2, "delta": 1e-3})
    [finding] = [f for f in privacy.judge(before) if f.name == "differential_privacy"]
    assert (finding.outcome, finding.weight, finding.value) == ("passed", "informs", 3.2)
    assert "ε = 3.20 at δ = 0.001 for each patient" in finding.sentence
    assert "weights only, not the anatomies" in finding.sentence
    assert privacy.promised(None) == []


def public(table, **columns):
    """Before the gate, with a card that says its anatomies are public, and cases that say whose."""
    table = changed(table, attributes=np.full(len(table), '{"public": "someone"}'))
    told = {"epsilon": 3.2, "delta": 1e-3, "public": {"folder": "public/brain", "digest": "0" * 64}}
    return trial(changed(table, **columns), REFERENCE, promised=told)


def test_the_epsilon_covers_images_whose_anatomies_are_public():
    nobody = np.full(len(BATCH), "")
    found = {f.name: f for f in privacy.judge(public(BATCH, people=nobody))}
    assert "ε = 3.20" in found["differential_privacy"].sentence
    assert "this covers its images too" in found["differential_privacy"].sentence
    assert found["anatomy_reuse"].outcome == "not_applicable"
    # where a case does not say whose its anatomy is, or names a donor, the card is wrong: the claim is of the weights
    silent = public(BATCH, people=nobody, attributes=np.array(['{"public": "someone"}'] * (len(BATCH) - 1) + ["{}"]))
    assert not silent.public
    found = {f.name: f for f in privacy.judge(public(BATCH))}
    assert "weights only" in found["differential_privacy"].sentence and found["anatomy_reuse"].outcome == "passed"


def test_an_anatomy_that_is_called_public_and_is_a_patients_is_flagged():
    nobody = np.full(len(BATCH), "")
    assert {f.name: f for f in privacy.judge(public(BATCH, people=nobody))}["undeclared_anatomies"].outcome == "passed"
    stolen = BATCH.shape.copy()
    stolen[4] = REFERENCE.shape[7]
    finding = {f.name: f for f in privacy.judge(public(BATCH, people=nobody, shape=stolen))}["undeclared_anatomies"]
    assert finding.outcome == "failed" and finding.cases == (str(BATCH.case[4]),)


@pytest.mark.parametrize("facts", [
    {}, [], "yes", {"epsilon": 1.0}, {"epsilon": "much", "delta": 1e-3}, {"epsilon": float("inf"), "delta": 1e-3},
    {"epsilon": -1.0, "delta": 1e-3}, {"epsilon": 1.0, "delta": 1.0}, {"epsilon": None, "delta": 1e-3},
])  # fmt: skip
def test_a_promise_that_is_none_is_undefined(facts):
    [finding] = privacy.promised(facts)
    assert (finding.outcome, finding.weight, finding.value) == ("undefined", "informs", None)


class Reached(Exception):
    """The trial as it came."""


def test_the_card_of_a_batch_reaches_the_axis(tmp_path, monkeypatch):
    def stop(trial):
        raise Reached(trial.promised, trial.learned_from)

    row = params.load(Path(__file__).parents[1] / "params.yaml").studies["brain"]
    tools = SimpleNamespace(
        reference=REFERENCE, rendered=None, planted=defaultdict(lambda: TRAIN), likeness=lambda table: table
    )
    monkeypatch.setattr(run.places, "judges", lambda study: tmp_path)
    monkeypatch.setattr(run.checks, "faults", lambda *_: [])
    monkeypatch.setattr(run.Store, "open", lambda _: SimpleNamespace(cases=()))
    monkeypatch.setattr(run, "_measured", lambda *_: (None, tools, BATCH))
    monkeypatch.setattr(run, "findings_of", stop)
    with pytest.raises(Reached) as reached:
        run.run("brain", row, tmp_path, "realistic", tmp_path)
    assert reached.value.args == (None, ())
    facts = {"privacy": {"epsilon": 3.2, "delta": 1e-3}}
    cards.write(tmp_path, Card("synthesize", "b", "brain", ("p1",), {}, facts=facts))
    with pytest.raises(Reached) as reached:
        run.run("brain", row, tmp_path, "realistic", tmp_path)
    assert reached.value.args == (facts["privacy"], ("p1",))


def noisy(image):
    """A little noise within the head."""
    rng = np.random.default_rng(0)
    return np.where(image > 0, np.clip(image + rng.normal(0, 4, image.shape), 1, 255), 0).astype(np.uint8)


def test_honest_batches_are_not_refused():
    refused = 0
    for seed in range(10):
        found = judged(batch(12, 700 + seed, images=True))
        refused += any(f.bad for f in found.values() if f.weight != "informs")
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
    found = judged(BATCH, changed(TRAIN.rows(np.arange(patients))))
    assert found["image_copies"].outcome == "undefined"
    assert found["undeclared_anatomies"].outcome == "undefined"


@pytest.mark.parametrize("value", [0, 9])
def test_an_image_that_shows_nothing_is_undefined_and_named(value):
    finding = judged(with_image(np.full_like(BATCH.thumbnail[0], value)))["image_copies"]
    assert (finding.outcome, finding.cases) == ("undefined", (str(BATCH.case[4]),))


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
    rates: dict = {copies: set(), privacy: set()}
    for module, seen in rates.items():
        monkeypatch.setattr(module, "tail_limit", lambda values, rate, seen=seen: seen.add(rate))
    privacy.judge(trial(BATCH, REFERENCE, params=dataclasses.replace(PARAMS, error_privacy=0.024)))
    each = 0.024 / 2 / 12
    assert rates[privacy] == {each}
    assert rates[copies] == {each / 3, each / 3 / 2}, "three families of scores, the learned one of two folds"


def test_the_distance_ratio_informs():
    found = judged(with_image(TRAIN.thumbnail[7]))
    assert found["nndr_batch"].weight == "informs"
    assert 0.9 < found["nndr_unseen_patients"].value <= 1


def test_authenticity_and_membership_inform():
    # every patient leaked: a dozen of 42 cannot be told from chance
    leaked = changed(numbers(42, 9, "synthetic", images=True), thumbnail=TRAIN.thumbnail)
    honest, leaking = judged(BATCH), judged(leaked)
    names = ("authenticity_batch", "authenticity_unseen_patients", "membership")
    assert {honest[name].weight for name in names} == {"informs"}
    assert leaking["authenticity_batch"].value == 0 < honest["authenticity_batch"].value
    assert honest["membership"].value < honest["membership"].limit < leaking["membership"].value == 1


def test_the_smallest_leak_comes_from_copies_planted_in_the_patients_at_hand():
    none = {f.name: f for f in privacy.judge(trial(BATCH, REFERENCE))}["smallest_leak"]
    assert (none.outcome, none.weight) == ("undefined", "informs")
    likeness = trial(changed(numbers(10, 8, "synthetic", images=True), thumbnail=TRAIN.thumbnail[:10]), REFERENCE)
    planted = changed(likeness.batch, group=TRAIN.group[:10])
    found = {f.name: f for f in privacy.judge(trial(BATCH, REFERENCE, copied=planted))}["smallest_leak"]
    assert found.value == pytest.approx(3 / 12), "all are found"
    strangers = changed(likeness.batch, group=np.full(10, "somebody else"))
    found = {f.name: f for f in privacy.judge(trial(BATCH, REFERENCE, copied=strangers))}["smallest_leak"]
    assert found.outcome == "undefined" and "a leak of any size" in found.sentence


def test_suspects_are_shown_beside_the_patient_and_nobody_else_is(tmp_path):
    suspects.report(trial(with_image(TRAIN.thumbnail[7]), REFERENCE), tmp_path)
    page = (tmp_path / suspects.NAME).read_text()
    assert page.count("data:image/png") == 2 and f"<td>{TRAIN.group[7]}</td>" in page and str(BATCH.case[4]) in page
    assert not any(f"<td>{name}</td>" in page for name in (BATCH.case[3], TRAIN.group[8]))
    suspects.report(trial(BATCH, REFERENCE), tmp_path)
    assert "No case was taken for a copy" in (tmp_path / suspects.NAME).read_text()


def test_randomised_new_anatomies_are_no_copies_and_their_reuse_is_reported():
    # other contrasts of the declared donors' heads, each donor twice
    drawn = copies.rendered(TRAIN.thumbnail[np.arange(12) % 6], np.random.default_rng(31))
    people = np.array([f"{TRAIN.group[i % 6]};{TRAIN.group[20]}" for i in range(12)])
    found = judged(changed(BATCH, thumbnail=drawn, people=people))
    assert found["image_copies"].outcome == "passed"
    reuse = found["anatomy_reuse"]
    assert reuse.weight == "informs" and reuse.value == pytest.approx(12 / 7)
    assert f"in 12 cases, from {TRAIN.group[20]}" in reuse.sentence
    assert judged(changed(BATCH, people=np.full(12, "")))["anatomy_reuse"].outcome == "not_provided"
    tied = judged(changed(BATCH, people=np.array([f"{TRAIN.group[i % 6]}" for i in range(12)])))["anatomy_reuse"]
    assert f"in 2 cases, from {min(TRAIN.group[:6])}." in tied.sentence, "of several, the same in every run"
