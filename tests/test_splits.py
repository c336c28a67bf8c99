from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgate.cohort import splits
from synthgate.errors import CohortError
from synthgate.params import Cohort

COHORT = Cohort(
    simulated=False,
    channels=("t1",),
    regions={"WT": (1,)},
    strata=("site",),
    validation=0.2,
    hold_out=0.2,
    split_seed=0,
)


def patients(count, strata=3, prefix="p"):
    return [(f"{prefix}{i}", f"s{i % strata}") for i in range(count)]


def test_shares_hold_over_all_and_within_each_stratum():
    table = splits.extend({}, patients(60), COHORT)
    assert Counter(table.values()) == {"train": 36, "validation": 12, "hold-out": 12}
    within = Counter((stratum, table[name]) for name, stratum in patients(60))
    assert all(
        within[(f"s{s}", split)] == n for s in range(3) for split, n in zip(splits.SPLITS, (12, 4, 4), strict=True)
    )


def test_names_do_not_matter_and_the_seed_does():
    one = splits.extend({}, patients(40), COHORT)
    other = splits.extend({}, patients(40, prefix="q"), COHORT)
    assert list(one.values()) == list(other.values()) and list(one) == [name for name, _ in patients(40)]
    assert list(one.values()) != list(splits.extend({}, patients(40), replace(COHORT, split_seed=1)).values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=60), st.integers(1, 20), st.integers(0, 9))
def test_adding_and_withdrawing_move_nobody(strata, more, seed):
    cohort = replace(COHORT, split_seed=seed)
    people = [(f"p{i}", f"s{s}") for i, s in enumerate(strata)]
    table = splits.extend({}, people, cohort)
    assert set(table.values()) == set(splits.SPLITS)
    grown = splits.extend(table, people + patients(more, prefix="new"), cohort)
    assert list(grown.items())[: len(table)] == list(table.items()) and len(grown) == len(table) + more
    left = people[len(people) // 2 :] + patients(more + 3, prefix="new")
    shrunk = splits.extend(grown, left, cohort)
    assert list(shrunk.items())[: len(grown)] == list(grown.items())


def test_growing_one_by_one_approaches_the_shares():
    table: dict[str, str] = {}
    for count in range(3, 61):
        table = splits.extend(table, patients(count), COHORT)
    assert Counter(table.values()) == {"train": 36, "validation": 12, "hold-out": 12}


def test_a_stratum_of_one_goes_to_train():
    for seed in range(20):
        table = splits.extend({}, [*patients(30), ("alone", "rare")], replace(COHORT, split_seed=seed))
        assert table["alone"] == "train"


def test_strata_of_one_each_still_fill_every_split():
    table = splits.extend({}, [(f"p{i}", f"s{i}") for i in range(10)], COHORT)
    assert Counter(table.values()) == {"train": 6, "validation": 2, "hold-out": 2}


def test_two_patients_cannot_be_split():
    with pytest.raises(CohortError, match="at least 3"):
        splits.extend({}, patients(2), COHORT)


def test_a_split_without_lesions_is_refused():
    table = {"a": "train", "b": "validation", "c": "hold-out"}
    splits.require_lesions(table, {"a", "b", "c"}, "here")
    with pytest.raises(CohortError, match="here: no patient with a lesion in validation and hold-out"):
        splits.require_lesions(table, {"a"}, "here")


def test_file_round_trip_and_broken_files(tmp_path):
    path = tmp_path / "splits/brain.csv"
    table = splits.extend({}, patients(9), COHORT)
    splits.write(path, table)
    assert list(splits.read(path).items()) == list(table.items())
    assert path.read_text().startswith("patient,split\np0,")
    for text in ("", "patient,split\na,elsewhere\n", "patient,split\na,train\na,train\n", "x,y\n"):
        path.write_text(text)
        with pytest.raises(CohortError, match="restore it from git"):
            splits.read(path)
    with pytest.raises(CohortError, match="missing"):
        splits.read(tmp_path / "none.csv")
