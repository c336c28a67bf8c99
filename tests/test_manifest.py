import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import tiny_release

from synthgate import cards
from synthgate.errors import ArtefactError
from synthgate.files import digest
from synthgate.registry import manifest
from synthgate.registry.manifest import BatchUse


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, stage, inputs, terms in (
        ("build/brain", "prepare", {"data/brain": "ab"}, ("CC-BY-4.0",)),
        ("batches/brain/b", "synthesize", {"build/brain": "cd"}, ("CC0", "CC-BY-4.0")),
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "content").write_text(name)
        cards.write(folder, cards.Card(stage, folder.name, "brain", ("p1",), {"seed": 0}, inputs=inputs, terms=terms))
    return build()


def build(**changes):
    given = {
        "study": "brain",
        "row": tiny_release.row(),
        "arm": "mixed",
        "weights": b"weights",
        "artefacts": [Path("build/brain"), Path("batches/brain/b")],
        "batches": {"b": BatchUse(0.25, "approved", "ef")},
        "patients": {"train": ["p2", "p1"], "hold-out": []},
        "validation": {"WT": {"dice": 0.5}},
        "hold_out": {"WT": {"dice": None}},
        "decision": "mixed was not worse",
    }
    return manifest.build(**(given | changes))


def test_says_what_it_rests_on(built):
    assert built.weights == hashlib.sha256(b"weights").hexdigest()
    assert built.artifact == "brain-segmenter"
    assert built.batches == {"b": {"share": 0.25, "verdict": "approved", "evidence": "ef"}}
    assert built.patients["train"]["count"] == 2 and built.patients["hold-out"]["count"] == 0
    assert built.terms == ("CC-BY-4.0", "CC0")
    source = built.artefacts["build/brain"]
    assert source["inputs"] == {"data/brain": "ab"} and source["card"] == digest_of_card("build/brain")
    assert built.params["cohort"]["channels"] == ["t1", "flair"]


def digest_of_card(folder):
    return digest(Path(folder) / "card.json")


def test_names_no_patient(built):
    text = json.dumps(dataclasses.asdict(built))
    assert '"p1"' not in text and '"p2"' not in text


def test_id_is_the_digest_of_canonical_json(built):
    text = json.dumps(dataclasses.asdict(built), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert manifest.manifest_id(built) == hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def test_order_of_what_is_given_does_not_matter(built):
    again = build(
        artefacts=[Path("batches/brain/b"), Path("build/brain")], patients={"hold-out": [], "train": ["p1", "p2"]}
    )
    assert manifest.manifest_id(again) == manifest.manifest_id(built)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": b"other"},
        {"patients": {"train": ["p1", "p3"], "hold-out": []}},
        {"hold_out": {"WT": {"dice": 0.4}}},
        {"batches": {}},
        {"decision": "x"},
    ],
)
def test_any_change_changes_the_id(built, change):
    assert manifest.manifest_id(build(**change)) != manifest.manifest_id(built)


def test_round_trip(built, tmp_path):
    manifest.write(tmp_path, built)
    read = manifest.read(tmp_path)
    assert manifest.manifest_id(read) == manifest.manifest_id(built)


def test_no_card_no_manifest(built, tmp_path):
    (tmp_path / "build/brain/card.json").unlink()
    with pytest.raises(ArtefactError, match=r"card\.json"):
        build()


@pytest.mark.parametrize("text", ["", "[]", '{"study": "brain"}'])
def test_not_a_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtefactError, match="manifest"):
        manifest.read(tmp_path)
