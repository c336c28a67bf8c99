import re

import numpy as np
import pytest
from tiny_measured import batch, changed, reference, trial

from synthgate.gate import contract

REFERENCE = reference()
BATCH = batch(6)
SPLITS = dict(zip(REFERENCE.group.tolist(), REFERENCE.split.tolist(), strict=True)) | {"held": "hold-out"}
CARD = tuple(REFERENCE.group[REFERENCE.split == "train"])
VALIDATION = str(REFERENCE.group[REFERENCE.split == "validation"][0])


def judged(table, learned_from=CARD):
    return {f.name: f for f in contract.judge(trial(table, REFERENCE, learned_from=learned_from, split_of=SPLITS))}


def with_value(column, value, row=2):
    values = np.array(getattr(BATCH, column), object if isinstance(value, str) else float)
    values[row] = value
    return changed(BATCH, **{column: values.astype(str) if isinstance(value, str) else values})


def test_an_honest_batch_passes_every_rule():
    found = judged(BATCH)
    assert {f.outcome for f in found.values()} == {"passed"}
    assert {f.weight for f in found.values()} == {"rejects", "thins"}
    assert len(found) == len(contract.RULES) + 2


@pytest.mark.parametrize(("column", "value", "rule", "told"), [
    ("foreign", 3, "known_labels", "labels outside the set"),
    ("constant", 1, "no_constant_channel", "a constant channel"),
    ("inside", 0.5, "lesion_in_head", "a lesion off the head"),
    ("content", str(REFERENCE.content[50]), "no_patient", "the image of a real patient"),
])  # fmt: skip
def test_the_case_that_breaks_a_rule_is_named_and_no_other_rule_fails(column, value, rule, told):
    found = judged(with_value(column, value))
    assert [name for name, f in found.items() if f.bad] == [rule]
    assert found[rule].cases == (str(BATCH.case[2]),)
    who = f" (patient {REFERENCE.group[50]})" if rule == "no_patient" else ""
    assert found[rule].sentence == f"1 of 6 cases have {told}: {BATCH.case[2]}{who}."


def test_the_same_image_under_two_names_names_both():
    found = judged(with_value("content", str(BATCH.content[5])))
    assert found["unique_content"].cases == (str(BATCH.case[2]), str(BATCH.case[5]))
    assert [name for name, f in found.items() if f.bad] == ["unique_content"]


def test_a_case_without_a_lesion_has_none_off_the_head():
    assert judged(with_value("inside", np.nan))["lesion_in_head"].outcome == "passed"


def test_a_check_that_breaks_does_not_pass(monkeypatch):
    table = changed(BATCH, foreign=np.array([{}] * 6, object))
    found = judged(table)["known_labels"]
    assert found.bad and "could not be checked" in found.sentence


@pytest.mark.parametrize(("who", "split"), [(VALIDATION, "validation"), ("held", "hold-out"), ("x", "unknown to the")])
def test_a_donor_outside_training_is_a_leak(who, split):
    finding = judged(with_value("people", f"{BATCH.people[2]};{who}"))["lineage"]
    assert finding.outcome == "failed" and finding.cases == (str(BATCH.case[2]),)
    assert who in finding.sentence and split in finding.sentence
    by_card = judged(BATCH, (*CARD, who))["lineage"]
    assert by_card.outcome == "failed" and by_card.cases == () and who in by_card.sentence


def test_a_leak_on_the_card_is_one_though_no_case_names_a_donor():
    silent = changed(BATCH, people=np.full(6, ""))
    assert judged(silent, (VALIDATION,))["lineage"].outcome == "failed"
    assert judged(silent)["lineage"].outcome == "passed"
    assert judged(silent)["provenance"].outcome == "not_provided"


def test_who_does_not_say_whom_it_learned_from_is_not_passed():
    for table in (BATCH, changed(BATCH, people=np.full(6, ""))):
        finding = judged(table, ())["lineage"]
        assert finding.outcome == "not_provided" and "cannot be excluded" in finding.sentence


def test_a_batch_of_public_anatomies_needs_no_donors():
    told = {"epsilon": 3.2, "delta": 1e-3, "public": {"folder": "public/brain", "digest": "0" * 64}}
    before = {"learned_from": CARD, "split_of": SPLITS, "promised": told}
    named = changed(BATCH, people=np.full(6, ""), attributes=np.full(6, '{"public": "someone"}'))
    found = {f.name: f for f in contract.judge(trial(named, REFERENCE, **before))}
    assert found["provenance"].outcome == "passed" and "public source" in found["provenance"].sentence
    assert found["lineage"].outcome == "passed"
    # nobody named at all, or one case that names a donor: the card is not believed
    found = {f.name: f for f in contract.judge(trial(changed(BATCH, people=np.full(6, "")), REFERENCE, **before))}
    assert found["provenance"].outcome == "not_provided"
    found = {f.name: f for f in contract.judge(trial(with_value("people", ""), REFERENCE, **before))}
    assert found["provenance"].outcome == "failed"


def test_provenance_of_some_cases_only_fails():
    finding = judged(with_value("people", ""))["provenance"]
    assert finding.outcome == "failed" and finding.cases == (str(BATCH.case[2]),)


def test_the_data_docs_page_names_the_broken_case_and_calls_nobody(tmp_path):
    broken = changed(BATCH, constant=np.arange(len(BATCH)) == 3)
    pages = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        contract.report(trial(broken, REFERENCE), tmp_path / name)
        pages.append((tmp_path / name / "data_docs.html").read_text())
    assert BATCH.case[3] in pages[0] and BATCH.case[4] not in pages[0]
    assert not re.search(r"""(?:src|href)=["']https?://[^"']*\.(?:js|css|png)|url\(['"]?http""", pages[0])
    assert pages[0] == pages[1]


def test_a_patient_is_named_beside_cases_that_are_nobodys():
    table = with_value("content", str(REFERENCE.content[50]), 0)
    constant = np.zeros(6)
    constant[3] = 1
    found = judged(changed(table, constant=constant))
    assert found["no_constant_channel"].sentence.endswith(f"{BATCH.case[3]}.")
    assert found["no_patient"].sentence.endswith(f"{BATCH.case[0]} (patient {REFERENCE.group[50]}).")
