import dataclasses
import json

import pytest

from synthgate import cards
from synthgate.cards import Card
from synthgate.errors import ArtefactError
from synthgate.files import digest

CARD = Card("prepare", "brain", "brain", ("p1", "p2"), {"size": [80, 96]}, {"data": "00"}, ("CC0",), {"cases": 2})


def written(folder, card=CARD):
    folder.mkdir(exist_ok=True)
    (folder / "a.bin").write_bytes(b"1")
    cards.write(folder, card)
    return folder


def test_a_card_is_read_as_it_was_written(tmp_path):
    found = cards.read(written(tmp_path / "out"))
    assert dataclasses.replace(found, content="", code="") == CARD
    assert len(found.code) == 64


def test_the_content_is_the_digest_of_the_other_files(tmp_path):
    folder = written(tmp_path / "out")
    content = cards.read(folder).content
    (folder / cards.NAME).unlink()
    assert content == digest(folder)


def test_the_same_artefact_has_the_same_card_and_rewriting_changes_nothing(tmp_path):
    first, second = (written(tmp_path / name) / cards.NAME for name in ("a", "b"))
    before = first.read_bytes()
    assert second.read_bytes() == before
    cards.write(first.parent, CARD)
    assert first.read_bytes() == before


@pytest.mark.parametrize("text", ["[]", "{}", '{"patients": [], "terms": [], "odd": 1}'])
def test_what_is_no_card_is_refused_with_its_place(tmp_path, text):
    (tmp_path / cards.NAME).write_text(text)
    with pytest.raises(ArtefactError, match=r"card\.json.*dvc repro"):
        cards.read(tmp_path)


def test_a_missing_card_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"card\.json is missing"):
        cards.read(tmp_path)


def test_an_input_with_a_card_counts_by_it_and_one_without_by_its_bytes(tmp_path):
    carded, plain = written(tmp_path / "carded"), tmp_path / "plain"
    plain.mkdir()
    (plain / "a").write_text("1")
    before = cards.inputs_of([carded, plain])
    assert list(before) == [carded.as_posix(), plain.as_posix()]
    assert before[carded.as_posix()] == digest(carded / cards.NAME)
    (plain / "a").write_text("2")
    cards.write(carded, dataclasses.replace(CARD, patients=("p1",)))
    after = cards.inputs_of([carded, plain])
    assert all(after[name] != before[name] for name in before)


def test_a_card_is_plain_json_without_a_time(tmp_path):
    folder = written(tmp_path / "out")
    value = json.loads((folder / cards.NAME).read_text())
    assert set(value) == {field.name for field in dataclasses.fields(Card)}
