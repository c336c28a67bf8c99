import dataclasses

import numpy as np
import pytest
from tiny_measured import batch, numbers
from tiny_store import CHANNELS, REGIONS

from synthgate.features.convolution import Convolution
from synthgate.features.descriptors import describe
from synthgate.features.mild import mild
from synthgate.gate.measured import Measured, Spaces, measure, read, stack
from synthgate.learning.regions import to_regions

SPACE = Spaces(Convolution(len(CHANNELS), 12, 0))


def truthful(store, case):
    """A judge that answers with the label itself, and notes who it was told is behind the image."""
    asked = []

    def predict(image, people):
        asked.append((image.shape, tuple(people)))
        return to_regions(store.label(case), REGIONS).astype(np.float32)

    return predict, asked


def test_a_case_is_measured_by_what_the_features_say(tiny):
    case = tiny.cases[1]
    predict, asked = truthful(tiny, case)
    found = measure(tiny, case, REGIONS, SPACE, predict)
    image, label = tiny.image(case), tiny.label(case)
    for part, seen in ((found.descriptors, image), (found.mild_descriptors, mild(image))):
        expected = describe(seen, label, REGIONS, case.geometry.spacing_mm, tiny.channels)
        assert found.names.tolist() == list(expected)
        assert part[0] == pytest.approx([np.nan if v is None else v for v in expected.values()], nan_ok=True)
    assert np.array_equal(found.convolution[0], SPACE.convolution.embed(image))
    assert found.dice.tolist() == [[1.0] * len(REGIONS)]
    assert asked == [(image.shape, (case.patient,))]
    assert found.group.tolist() == found.people.tolist() == [case.patient]
    assert (found.inside[0], found.constant[0], found.foreign[0]) == (1, 0, 0)
    assert found.content.tolist() == [case.content]


def test_cases_on_one_public_head_are_one_unit(tiny):
    case = dataclasses.replace(tiny.cases[0], patient="", donors=(), attributes={"public": "Somebody 1;Somebody 2"})
    found = measure(tiny, case, REGIONS, SPACE, None)
    assert (found.people.tolist(), found.group.tolist()) == ([""], ["Somebody 1"])
    unnamed = measure(tiny, dataclasses.replace(case, attributes={}), REGIONS, SPACE, None)
    assert (unnamed.people.tolist(), unnamed.group.tolist()) == ([""], [case.case])


def test_what_is_undefined_is_not_a_number_and_what_is_wrong_is_counted(tiny, monkeypatch):
    case = tiny.cases[0]
    image, empty = tiny.image(case), np.zeros_like(tiny.label(case))
    image[1] = np.where(image.any(axis=0), 0.5, 0)
    monkeypatch.setattr(type(tiny), "image", lambda self, case: image)
    monkeypatch.setattr(type(tiny), "label", lambda self, case: empty)
    nothing = measure(tiny, case, REGIONS, SPACE, lambda image, people: np.zeros((2, *empty.shape)))
    assert np.isnan(nothing.dice).all() and np.isnan(nothing.inside).all() and not nothing.shape.any()
    lesion_x, share = nothing.names.tolist().index("lesion_x"), nothing.names.tolist().index("WT_share")
    assert np.isnan(nothing.descriptors[0, lesion_x]) and nothing.descriptors[0, share] == 0
    empty[0, 0, :3] = 9
    wrong = measure(tiny, case, REGIONS, SPACE, lambda image, people: np.zeros((2, *empty.shape)))
    assert (wrong.foreign[0], wrong.inside[0], wrong.constant[0]) == (3, 0, 1)


def test_a_table_survives_the_disk_and_comes_back_in_order(tmp_path):
    one, two = numbers(4, 1), batch(3)
    both = stack([one, two])
    both.write(tmp_path / "measured.npz")
    again = read(tmp_path / "measured.npz")
    assert len(again) == 7 and again.case.tolist() == [*one.case, *two.case]
    for name, values in vars(both).items():
        assert np.array_equal(getattr(again, name), values, equal_nan=values.dtype.kind == "f")
    some = again.rows(np.array([5, 0]))
    assert some.case.tolist() == [two.case[1], one.case[0]] and some.names.tolist() == one.names.tolist()
    assert np.array_equal(some.space("convolution")[1], one.convolution[0])


def test_pickled_content_is_refused(tmp_path):
    np.savez(tmp_path / "measured.npz", **(vars(numbers(2, 0)) | {"people": np.array([{}, {}])}))
    with pytest.raises(ValueError, match="pickle"):
        read(tmp_path / "measured.npz")


def test_the_group_is_the_donor_of_the_head_or_the_case_itself(tmp_path):
    import tiny_store

    people = {"one": "synthetic"}
    donated = tiny_store.make(tmp_path / "a", tiny_store.entries(people, donors=("bob", "cay")))
    outside = tiny_store.make(tmp_path / "b", tiny_store.entries(people))
    tables: list[Measured] = []
    for store in (donated, outside):
        predict, asked = truthful(store, store.cases[0])
        tables.append(measure(store, store.cases[0], REGIONS, SPACE, predict))
        assert asked[0][1] == store.cases[0].people
    assert (tables[0].people[0], tables[0].group[0]) == ("bob;cay", "bob")
    assert (tables[1].people[0], tables[1].group[0]) == ("", "case-one")
