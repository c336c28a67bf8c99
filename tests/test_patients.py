import itertools

import pytest

from synthgate.errors import LineageError, ParamsError
from synthgate.generators.patients import chosen, refuse_untrained
from synthgate.params import Patients

NAMES = [f"p{n:02d}" for n in range(20)]


def test_subsets_of_one_draw_are_nested_and_keep_the_order():
    subsets = [chosen(NAMES, Patients(size, 3)) for size in range(1, 21)]
    for size, (small, large) in enumerate(itertools.pairwise(subsets), start=1):
        assert len(small) == size
        assert set(small) < set(large)
        assert list(small) == [name for name in NAMES if name in small]


def test_draws_differ_and_all_is_everybody():
    assert len({chosen(NAMES, Patients(5, draw)) for draw in range(10)}) > 5
    assert chosen(NAMES, Patients("all", 0)) == tuple(NAMES)


def test_a_patient_added_at_the_end_displaces_at_most_one():
    before, after = (set(chosen(names, Patients(8, 1))) for names in (NAMES, [*NAMES, "new"]))
    assert len(before - after) <= 1


@pytest.mark.parametrize("size", [0, -1, 21])
def test_a_size_that_is_not_there_is_refused(size):
    with pytest.raises(ParamsError, match=r"1\.\.20"):
        chosen(NAMES, Patients(size, 0))


def test_only_training_patients_pass():
    refuse_untrained(["a"], {"a": "train"}, "it")
    with pytest.raises(LineageError, match="patient b, who is validation"):
        refuse_untrained(["a", "b"], {"a": "train", "b": "validation"}, "it")
    with pytest.raises(LineageError, match="patient c, who is not in the splits table"):
        refuse_untrained(["c"], {"a": "train"}, "it")
