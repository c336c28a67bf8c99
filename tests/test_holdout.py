import csv

import pytest

from synthgate.errors import LineageError
from synthgate.registry.holdout import opened


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "splits" / "brain.ledger.csv"


def test_each_new_candidate_is_an_opening_and_the_same_one_is_not(ledger):
    assert [opened(ledger, name, False) for name in ("a", "b", "a", "b", "c", "a")] == [1, 2, 1, 2, 3, 1]
    with ledger.open(newline="") as stream:
        assert [(row["opening"], row["candidate"]) for row in csv.DictReader(stream)] == [
            ("1", "a"),
            ("2", "b"),
            ("3", "c"),
        ]


def test_after_three_openings_it_is_spent_for_new_ones(ledger):
    for name in "abc":
        opened(ledger, name, False)
    before = ledger.read_bytes()
    with pytest.raises(
        LineageError, match=r"brain\.ledger\.csv: the hold-out was opened for 3 candidates and is spent"
    ):
        opened(ledger, "d", False)
    assert ledger.read_bytes() == before
    assert opened(ledger, "b", False) == 2


def test_lines_are_only_ever_added(ledger):
    opened(ledger, "a", False)
    before = ledger.read_bytes()
    opened(ledger, "b", False)
    assert ledger.read_bytes().startswith(before)


def test_simulated_patients_are_exempt(ledger):
    assert [opened(ledger, name, True) for name in "abcde"] == [1] * 5
    assert not ledger.exists()
