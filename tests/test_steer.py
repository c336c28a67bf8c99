import dataclasses
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage
from tiny_heads import BATCH, PEOPLE, ROW, TABLE, store, trained

from synthgate import cards, params
from synthgate.cohort.folder import load_case, read_table
from synthgate.errors import CohortError, ParamsError
from synthgate.files import digest
from synthgate.generators import anatomies, donors
from synthgate.generators.anatomy import box_of, covered
from synthgate.generators.generator import load
from synthgate.generators.sampling import synthesize
from synthgate.generators.support import supported
from synthgate.generators.wish import Wish
from synthgate.params import Steer, group_of
from synthgate.scratch import Scratch

CASES = 8
SEX, AGE = "FFMMFM", (30, 40, 50, 60, 70, 75)
"""Of the six training patients, whom the table leaves alike."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made)


@pytest.fixture(scope="module")
def known(folder):
    found = load(folder).anatomies
    heads = tuple(
        dataclasses.replace(head, attributes=dict(head.attributes) | {"sex": sex, "age": str(age)})
        for head, sex, age in zip(found.heads, SEX, AGE, strict=True)
    )
    return dataclasses.replace(found, people=dataclasses.replace(found.people, heads=heads))


def batch(known, steer, cases=CASES, seed=7):
    supported(known.people, steer, cases, seed)
    return [known.anatomy(index, seed, steer) for index in range(cases)]


def volume(anatomy, *values):
    return float(np.isin(anatomy.label, values).sum() * np.prod(anatomy.spacing_mm) / 1000)


def middle(anatomy, axis):
    """Middle of the lesion along an axis of the head's box, 0..1."""
    low, sides = box_of(anatomy.map > 0)
    return ((np.argwhere(anatomy.label).mean(0) + 0.5 - low) / sides)[axis]


# --- what is wished comes


def test_a_wished_volume_is_kept_to(known):
    sizes = [volume(one, 1, 2) for one in batch(known, Steer(volume_ml={"WT": (1.2, 2.4)}))]
    assert all(1.18 <= size <= 2.42 for size in sizes)  # to half a voxel
    assert min(sizes) < 1.5 and max(sizes) > 2  # over all of the range
    assert min(volume(one, 1, 2) for one in batch(known, Steer())) > 2.4  # not by itself


def test_a_lesion_that_did_not_come_out_as_wished_is_made_anew(known, monkeypatch):
    monkeypatch.setattr(anatomies, "ROUNDS", 1)  # its growth is never corrected
    sizes = [volume(one, 1, 2) for one in batch(known, Steer(volume_ml={"WT": (1.2, 2.4)}))]
    assert all(1.18 <= size <= 2.42 for size in sizes)


def test_lesions_nearest_in_size_are_taken(known, monkeypatch):
    monkeypatch.setattr(donors, "NEAREST", 2)
    near = known.people.lesions_for(Wish({"WT": 7.82}))
    assert {lesion.key for lesion in near} == {"case0", "case4"}  # of 7.80 and 7.87 ml


def test_where_a_sub_region_must_be_there_lesions_have_it(known):
    bare = [dataclasses.replace(one, label=np.where(one.label > 0, 2, 0)) for one in known.lesions[1:]]
    few = dataclasses.replace(known.people, lesions=(known.lesions[0], *bare))
    assert supported(few, Steer(absent={"TC": 0}), 4, 7)["lesions_of"] == 1
    assert supported(few, Steer(absent={"TC": 1}), 4, 7)["lesions_of"] == 5
    with pytest.raises(ParamsError, match="no training patient has TC"):
        supported(dataclasses.replace(few, lesions=tuple(bare)), Steer(absent={"TC": 0.5}), 4, 7)


def test_a_sub_region_is_grown_within_the_lesion(known):
    plain = batch(known, Steer())
    grown = batch(known, Steer(volume_ml={"TC": (2.4, 3.0)}))
    assert all(2.38 <= volume(one, 1) <= 3.02 for one in grown)
    assert max(volume(one, 1) for one in plain) < 2.4
    assert all(volume(one, 1, 2) > volume(one, 1) for one in grown)


def test_an_absent_sub_region_is_relabelled_and_nothing_else_changes(known):
    plain, some = batch(known, Steer()), batch(known, Steer(absent={"TC": 0.5}))
    without = [index for index, one in enumerate(some) if not (one.label == 1).any()]
    assert len(without) == CASES // 2
    for index, (one, other) in enumerate(zip(some, plain, strict=True)):
        want = np.where(other.label > 0, 2, 0) if index in without else other.label
        np.testing.assert_array_equal(one.label, want)


def test_a_hemisphere_is_kept_to(known):
    assert all(middle(one, 0) < 0.5 for one in batch(known, Steer(hemisphere={"left": 1})))
    both = Counter(middle(one, 0) < 0.5 for one in batch(known, Steer(hemisphere={"left": 0.5, "right": 0.5})))
    assert both == {True: CASES // 2, False: CASES // 2}
    assert len({middle(one, 0) < 0.5 for one in batch(known, Steer())}) == 2


def test_a_lobe_is_kept_to_by_lesions_of_patients_who_have_theirs_there(known):
    frontal = batch(known, Steer(lobe={"frontal": 1}))
    assert all(middle(one, 1) > 0.55 for one in frontal)
    assert {one.donors[-1] for one in frontal if len(one.donors) > 1} <= {"patient2", *PEOPLE[:5]}
    assert Counter(one.donors[1] for one in frontal if one.donors[0] != "patient2").keys() == {"patient2"}


def test_two_lesions_are_two_apart_of_two_patients(known):
    for one in batch(known, Steer(lesions={2: 1}, volume_ml={"WT": (2.2, 6)})):
        parts, count = ndimage.label(one.label > 0, np.ones((3, 3, 3)))
        assert count == 2 and np.bincount(parts.ravel())[1:].min() >= 10
        assert not (ndimage.binary_dilation(parts == 1, np.ones((3, 3, 3))) & (parts == 2)).any()
        assert len(one.donors) == 3 == len(set(one.donors))
        assert 2.19 <= volume(one, 1, 2) <= 6.01  # to half a voxel


def test_lesions_that_cannot_be_apart_are_told(known, monkeypatch):
    monkeypatch.setattr(anatomies, "GAP", 40)
    with pytest.raises(CohortError, match=r"no lesion fits .* wished for: WT of .* 2 lesions"):
        batch(known, Steer(lesions={2: 1}, volume_ml={"WT": (2.2, 6)}), 1)


def test_attributes_choose_heads_evenly_in_the_shares_wished(known):
    drawn = batch(known, Steer(attributes={"site": {"A": 0.25, "B": 0.75}}), cases=16)
    assert Counter(one.attributes["site"] for one in drawn) == {"A": 4, "B": 12}
    heads = Counter(one.donors[0] for one in drawn)
    assert all(heads[name] == 4 for name in PEOPLE[1:6:2])  # the three of site B


def test_age_bands_and_several_attributes_are_met_together(known):
    for one in batch(known, Steer(attributes={"sex": {"F": 1}, "age": {"70..": 1}})):
        assert one.donors[0] == "patient4" and (one.attributes["sex"], one.attributes["age"]) == ("F", "70")


def test_what_the_painter_shows_chooses_no_head_and_is_stated_as_wished(known):
    shown = dataclasses.replace(known.people, painted=frozenset({"site", "age"}))
    painting = dataclasses.replace(known, people=shown)
    drawn = batch(painting, Steer(attributes={"site": {"B": 1}, "age": {"70..": 1}, "sex": {"F": 1}}), cases=12)
    assert {one.donors[0] for one in drawn} == {"patient0", "patient1", "patient4"}  # the women
    assert {one.attributes["site"] for one in drawn} == {"B"}
    assert {one.attributes["age"] for one in drawn} == {"70", "75"}  # training patients' ages


def test_a_lesion_lies_where_those_of_patients_do(known, made):
    anatomy = known.anatomy(0, 7)
    assert anatomy.label.any()
    assert dict(known.covers).keys() == {17, 18} and 0.9 < known.covers[18] < 1  # never on the shell
    head = next(head for head in known.heads if head.key == "case0")
    own = covered(head.map, made.label(next(case for case in made.cases if case.case == "case0")))
    assert all(share <= known.covers[cluster] for cluster, share in own.items())
    spared = dataclasses.replace(known, covers=dict(known.covers) | {18: 0.4})
    with pytest.raises(CohortError, match="no lesion fits"):
        spared.anatomy(0, 7)


# --- what the training patients cannot support is refused


@pytest.mark.parametrize(
    ("steer", "told"),
    [
        (Steer(volume_ml={"ET": (1, 2)}), "volume_ml.ET cannot be had: the regions of the study are WT, TC"),
        (Steer(volume_ml={"WT": (0.01, 2)}), r"WT: \[0.01, 2.0\] cannot be had: training patients have 7.8 to 8.16"),
        (Steer(volume_ml={"WT": (1, 200)}), "at most 2 times smaller or larger along each axis"),
        (Steer(volume_ml={"WT": (1, 2), "TC": (3, 4)}), "volume_ml.TC cannot be had: WT around it"),
        (Steer(absent={"WT": 0.5}), "absent.WT cannot be had: WT is the whole lesion"),
        (Steer(absent={"ET": 1}), "absent.ET cannot be had: the regions of the study are WT, TC"),
        (Steer(lobe={"infratentorial": 1}), "lobe: infratentorial cannot be had: the lesions .* right frontal"),
        (Steer(attributes={"hair": {"red": 1}}), "the training patients state no hair"),
        (Steer(attributes={"site": {"Q": 1}}), "attributes.site: Q cannot be had: their site is A, B"),
        (Steer(attributes={"age": {"80..": 1}}), "age: 80.. cannot be had: their age is 30, 40, 50, 60, 70, 75"),
        (Steer(attributes={"site": {"A": 1}, "age": {"72..": 1}}), "no training patient is all of that"),
        (Steer(lesions={6: 1}), "6 lesions in one case .case 0. cannot be had: 5 of 5 lesions"),
        (Steer(lobe={"frontal": 1}, lesions={2: 1}), "1 of 5 lesions can be made so"),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_with_why(known, steer, told):
    with pytest.raises(ParamsError, match=told) as error:
        supported(known.people, steer, CASES, 7)
    assert str(error.value).startswith("steer: ") and "wish for less" in str(error.value)


def test_without_recombination_lesions_stay_as_they_are(made, tmp_path):
    own = load(trained(tmp_path, made, dataclasses.replace(ROW, recombine=False))).anatomies
    for steer in (Steer(volume_ml={"WT": (1, 3)}), Steer(lesions={2: 1}), Steer(hemisphere={"left": 1})):
        with pytest.raises(ParamsError, match=r"recombine: false|right"):
            supported(own.people, steer, 4, 0)
    drawn = batch(own, Steer(attributes={"site": {"B": 1}}, hemisphere={"right": 1}, absent={"TC": 1}), 4)
    assert {one.donors for one in drawn} == {("patient1",), ("patient3",)}
    assert not any((one.label == 1).any() for one in drawn)


def test_what_rests_on_few_is_told(known):
    assert supported(known.people, Steer(), 4, 7) == {"heads_of": 6, "lesions_of": 5, "rests_on_few": []}
    found = supported(known.people, Steer(lobe={"frontal": 1}, attributes={"sex": {"F": 1}}), 4, 7)
    assert found == {"heads_of": 3, "lesions_of": 1, "rests_on_few": ["heads of 3 patients", "lesions of 1 patients"]}


# --- the batch


def run(root, generator, steer, cases=4):
    with Scratch.opened("synthesize", {}, root=root / "scratch") as scratch:
        wished = dataclasses.replace(BATCH, steer=steer, cases=cases)
        synthesize(generator, root / "b", wished, "b", scratch, splits=TABLE, inputs={"models/tiny": "0"})
    return root / "b"


def test_the_card_says_wished_and_delivered_as_the_files_have_it(folder, tmp_path):
    steer = Steer(volume_ml={"WT": (1.5, 6)}, absent={"TC": 0.5}, lesions={1: 0.5, 2: 0.5},
                  attributes={"site": {"A": 0.5, "B": 0.5}})  # fmt: skip
    out = run(tmp_path, folder, steer)
    facts, rows = cards.read(out).facts, read_table(out)
    volumes = [load_case(out / row["case_id"], ("t1", "flair")) for row in rows]
    sizes = [float((one.label > 0).sum() * abs(np.linalg.det(one.affine)) / 1000) for one in volumes]
    assert facts["wished"]["lesions"] == {"1": 0.5, "2": 0.5} and facts["wished"]["volume_ml"] == {"WT": [1.5, 6.0]}
    found = facts["delivered"]
    np.testing.assert_allclose(found["volume_ml"]["WT"], np.quantile(sizes, [0, 0.5, 1]), rtol=1e-5)
    assert found["absent"] == {"WT": 0.0, "TC": sum(not (one.label == 1).any() for one in volumes) / 4}
    assert found["absent"]["TC"] == 0.5
    assert found["lesions"] == {"1": 0.5, "2": 0.5}
    assert found["attributes"] == {"site": {"A": 0.5, "B": 0.5}}
    assert facts["steer"]["lesions_of"] == 5
    behind = [row["donors"].split(";") for row in rows]
    assert sorted(map(len, behind)) == [2, 2, 3, 3]


def test_all_lesions_of_a_case_count_on_the_card(folder, tmp_path):
    out = run(tmp_path, folder, Steer(lesions={2: 1}, volume_ml={"WT": (2.2, 6)}), 1)
    assert cards.read(out).facts["lesions"] == 2


def test_a_steered_case_does_not_depend_on_how_many_there_are(folder, tmp_path):
    steer = Steer(volume_ml={"WT": (1.5, 6)}, attributes={"site": {"A": 0.5, "B": 0.5}})
    small, large = run(tmp_path / "small", folder, steer, 2), run(tmp_path / "large", folder, steer, 5)
    for case in ("b-0000", "b-0001"):
        assert digest(small / case) == digest(large / case)
    assert read_table(small) == read_table(large)[:2]


def test_nothing_is_written_of_what_is_refused(folder, tmp_path):
    with pytest.raises(ParamsError, match="site: Q"):
        run(tmp_path, folder, Steer(attributes={"site": {"Q": 1}}))
    assert not (tmp_path / "b").exists() and not list(tmp_path.rglob("row.json"))


# --- the parameters


def test_groups_are_names_or_bands():
    bands = ["..50", "50..70", "70.."]
    assert [group_of(value, bands) for value in ("49.9", "50", "70", "-3", "old", "")] == [
        "..50", "50..70", "70..", "..50", None, None,
    ]  # fmt: skip
    assert group_of("F", ["M", "F"]) == "F" and group_of("60", ["60", "50..70"]) == "60"


@pytest.mark.parametrize(
    ("steer", "told"),
    [
        ({"volume_ml": {"WT": [3, 2]}}, "volume_ml.WT: expected"),
        ({"volume_ml": {"WT": [2, 2.1]}}, "at least 1.2 times"),
        ({"volume_ml": {"WT": [0, 2]}}, "greater than 0"),
        ({"volume_ml": {"XX": [1, 2]}}, r"no region named XX; those of brain are \['WT', 'TC', 'ET'\]"),
        ({"hemisphere": {"left": 0.5}}, "hemisphere: shares must sum to 1"),
        ({"hemisphere": {"middle": 1}}, "'left' or 'right'"),
        ({"lobe": {"insula": 1}}, "'frontal', 'parietal'"),
        ({"lesions": {0: 1}}, "greater than 0"),
        ({"absent": {"ET": 1.5}}, "less than or equal to 1"),
        ({"attributes": {"sex": {"F": 0.9}}}, "attributes.sex: shares must sum to 1"),
        ({"attributes": {"age": {"70..50": 1}}}, "expected a band such as 50..70"),
        ({"size": 3}, "size: unknown key.* volume_ml, hemisphere, lobe, absent, lesions, attributes"),
    ],
)  # fmt: skip
def test_wrong_wishes_are_told_with_their_place(steer, told):
    plain = params.read(params.__file__.replace("src/synthgate/params/__init__.py", "params.yaml"))
    plain["batches"]["randomised"]["steer"] = steer
    with pytest.raises(ParamsError, match=rf"batches.randomised.*{told}"):
        params.parse(plain)
