import json
from pathlib import Path

import numpy as np
import pytest
from tiny_store import volume

from synthgate import params
from synthgate.cohort import entries
from synthgate.cohort.folder import write_case, write_table
from synthgate.cohort.identity import key_for, pseudonym
from synthgate.errors import CohortError

COHORT = params.load(Path(__file__).resolve().parent.parent / "params.yaml").studies["brain"].cohort
KEY = key_for("brain", True)
ROWS = [
    {"case_id": "c1", "patient_id": "Ann", "site": "A", "sex": "F"},
    {"case_id": "c2", "patient_id": "Ann", "site": "A", "sex": ""},
    {"case_id": "c3", "patient_id": "Bob", "site": "B", "sex": "M"},
]
SPLITS = {pseudonym(KEY, "Ann"): "train", pseudonym(KEY, "Bob"): "hold-out"}


def cohort(folder, rows=ROWS):
    for seed, row in enumerate(rows):
        write_case(folder, row["case_id"], volume(seed))
    write_table(folder, rows)
    return folder


def test_real_cases_appear_under_pseudonyms_with_their_split(tmp_path):
    found = entries.real(cohort(tmp_path), "brain", COHORT, SPLITS)
    assert [entry.patient for entry in found] == [pseudonym(KEY, name) for name in ("Ann", "Ann", "Bob")]
    assert [entry.case for entry in found] == [pseudonym(KEY, name) for name in ("c1", "c2", "c3")]
    assert [entry.split for entry in found] == ["train", "train", "hold-out"]
    assert [dict(entry.attributes) for entry in found] == [
        {"site": "A", "sex": "F"}, {"site": "A"}, {"site": "B", "sex": "M"},
    ]  # fmt: skip
    assert all(entry.donors == () for entry in found)
    shown = str([(entry.case, entry.patient, dict(entry.attributes)) for entry in found])
    assert not any(name in shown for name in ("Ann", "Bob"))


def test_pixels_are_read_when_asked_for(tmp_path):
    found = entries.real(cohort(tmp_path), "brain", COHORT, SPLITS)
    assert np.allclose(found[2].load().images["t1"], volume(2).images["t1"], atol=0.5)
    assert np.array_equal(found[2].load().label, volume(2).label)


def test_a_patient_without_a_split_is_refused(tmp_path):
    missing = {name: split for name, split in SPLITS.items() if split == "train"}
    with pytest.raises(CohortError, match=rf"c3: its patient \(pseudonym {pseudonym(KEY, 'Bob')}\).*splits/brain\.csv"):
        entries.real(cohort(tmp_path), "brain", COHORT, missing)


def test_synthetic_cases_have_donors_and_no_patient(tmp_path):
    rows = [
        {"case_id": "s1", "patient_id": "s1", "donors": "p1;p2", "generator": "g", "site": "A"},
        {"case_id": "s2", "patient_id": "s2", "donors": "", "generator": "g", "site": ""},
    ]
    first, second = entries.synthetic(cohort(tmp_path, rows), "brain")
    assert (first.case, first.patient, first.split, first.donors) == ("s1", "", "synthetic", ("p1", "p2"))
    assert dict(first.attributes) == {"generator": "g", "site": "A"}
    assert second.donors == ()


def test_terms_are_carried(tmp_path):
    assert entries.terms(tmp_path) == ()
    (tmp_path / "source.json").write_text(json.dumps({"terms": ["CC BY-NC-SA 4.0"]}))
    assert entries.terms(tmp_path) == ("CC BY-NC-SA 4.0",)


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"cases\.csv"):
        entries.synthetic(tmp_path, "brain")


def test_a_listed_case_without_folder_is_a_fault_and_not_left_out(tmp_path):
    cohort(tmp_path)
    (tmp_path / "c2").rename(tmp_path / ".gone")
    with pytest.raises(CohortError, match="c2"):
        entries.real(tmp_path, "brain", COHORT, SPLITS)


def test_a_table_that_lists_nobody_is_a_fault(tmp_path):
    write_table(tmp_path, [])
    with pytest.raises(CohortError, match="no cases"):
        entries.synthetic(tmp_path, "brain")
