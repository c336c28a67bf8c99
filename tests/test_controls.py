import dataclasses

import numpy as np
import pytest
from tiny_measured import PARAMS, batch, changed, reference, trial

from synthgate.gate import controls, plants
from synthgate.gate.plants import ROW_PLANTS, TO_MEASURE, Plant
from synthgate.gate.verdict import Control

REFERENCE = reference(images=True)
UNSEEN = controls.posing(REFERENCE.rows(REFERENCE.split == "validation"))
TRAIN = REFERENCE.rows(REFERENCE.split == "train")
SPLITS = dict(zip(REFERENCE.group.tolist(), REFERENCE.split.tolist(), strict=True))


def spoiled(by):
    """Patients whose sharpness is off by so many standard deviations."""
    table = REFERENCE.rows(REFERENCE.split == "validation")
    values = table.descriptors.copy()
    values[:, 5] += by
    return changed(table, descriptors=values)


@pytest.fixture(scope="module")
def proven():
    planted = {plant.name: spoiled(3.0) for plant in TO_MEASURE if plant.kind == "blur"}
    planted |= {plant.name: spoiled(0.0) for plant in TO_MEASURE if plant.kind == "noise"}
    before = trial(batch(12, images=True), REFERENCE, split_of=SPLITS)
    planted = {name: before.unseen.likened(table) for name, table in planted.items()}
    found = controls.prove(before, planted)
    return {(c.kind, c.severity): c for c in found}


def test_unseen_patients_pass(proven):
    good = proven["unseen_patients", 0]
    assert good.right and good.verdict == "limited" and good.declared


@pytest.mark.parametrize("kind", ["exact_copies", "one_copy", "undeclared_shapes", "collapsed", "one_sex", "one_site",
                                  "duplicates", "unknown_labels", "constant_channels",
                                  "lesions_off_the_head"])  # fmt: skip
def test_what_is_planted_in_rows_is_noticed_by_its_axis(proven, kind):
    found = next(c for (name, _), c in proven.items() if name == kind)
    assert found.right, found
    assert found.axis in found.by and found.verdict == found.expected


def test_what_was_measured_is_judged_and_what_was_not_is_left_out(proven):
    assert proven["blur", 0.5].right and "drift" in proven["blur", 0.5].by
    assert not proven["noise", 4].right, "nothing was spoiled there, and it says so"
    assert ("gamma", 0.8) not in proven


def control(kind, right=True, declared=True):
    return Control(kind, 1, declared, "drift", "rejected", "rejected" if right else "limited", (), right)


def test_too_many_missed_kinds_are_a_doubt_and_few_are_none():
    many = [control(f"kind{i}") for i in range(10)]
    assert controls.doubt((*many, control("a", False), control("b", False))) == ""
    told = controls.doubt((*many, control("a", False), control("b", False), control("c", False)))
    assert "13 controls" in told and "a, b, c" in told


def test_a_kind_missed_below_its_declared_severity_is_no_doubt():
    assert controls.doubt((control("a"), *[control("a", False, declared=False)] * 5)) == ""


@pytest.mark.parametrize("kind", plants.SURE)
def test_a_missed_copy_or_contract_defect_is_a_doubt(kind):
    many = tuple(control(f"kind{i}") for i in range(20))
    assert kind.replace("_", " ") in controls.doubt((*many, control(kind, False)))


def test_without_unseen_patients_nothing_is_proven():
    assert controls.prove(trial(batch(12), TRAIN), {}) == ()
    assert "could not prove itself" in controls.doubt(())


def test_there_are_at_least_twelve_kinds_each_declared_once():
    all_plants: list[Plant] = [*TO_MEASURE, *(plant for plant, _ in ROW_PLANTS)]
    declared = [plant.kind for plant in all_plants if plant.declared]
    assert len(declared) == len(set(declared)) >= 12
    assert {plant.kind for plant in all_plants} == set(declared)
    assert set(plants.SURE) <= set(declared)
    assert len({plant.name for plant in all_plants}) == len(all_plants)


def test_plans_leave_the_patients_alone_and_say_where_they_cannot_be():
    before = {k: v.copy() for k, v in vars(UNSEEN).items()}
    for _, plan in ROW_PLANTS:
        plan(TRAIN, UNSEEN)
    assert all(np.array_equal(v, vars(UNSEEN)[k], equal_nan=v.dtype.kind == "f") for k, v in before.items())
    nobody = changed(UNSEEN, attributes=np.full(len(UNSEEN), "{}"))
    assert plants.one_sex(TRAIN, nobody) is None
    assert plants.undeclared_shapes(changed(TRAIN, shape=TRAIN.shape * 0), UNSEEN) is None


@pytest.mark.parametrize("plant", TO_MEASURE, ids=lambda plant: plant.name)
def test_a_change_of_pixels_repeats_itself(plant):
    rng = np.random.default_rng(0)
    image = np.zeros((2, 16, 16, 6), np.float32)
    image[:, 2:14, 2:14] = rng.uniform(0.2, 1, (2, 12, 12, 6))
    label = np.zeros((16, 16, 6), np.uint8)
    label[5:8, 5:8, 2:4] = 1
    change = plant.change(PARAMS.seed)
    once, again = change(image, label), change(image, label)
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not (np.array_equal(once[0], image) and np.array_equal(once[1], label))


def test_a_copy_keeps_the_names_of_the_case_it_replaces():
    found = plants.exact_copies(TRAIN, UNSEEN)
    assert np.array_equal(found.case, UNSEEN.case) and np.array_equal(found.content, UNSEEN.content)
    assert np.array_equal(found.thumbnail[: plants.COPIES], TRAIN.thumbnail[: plants.COPIES])
    assert dataclasses.asdict(found)["split"].tolist() == ["synthetic"] * len(UNSEEN)
