import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny_heads import BATCH, CHANNELS, PEOPLE, PREPARE, TABLE, store, trained

from synthgate import cards
from synthgate.cohort.folder import load_case, read_table
from synthgate.cohort.prepare import prepare_volume
from synthgate.errors import LineageError
from synthgate.files import digest
from synthgate.generators import sampling
from synthgate.generators.generator import load
from synthgate.generators.sampling import synthesize
from synthgate.scratch import Scratch


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def generator(made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made)


def run(root, generator, batch=BATCH, splits=TABLE):
    with Scratch.opened("synthesize", {}, root=root / "scratch") as scratch:
        synthesize(generator, root / "b", batch, "b", scratch, splits=splits, inputs={"models/tiny": "0"})
    return root / "b"


@pytest.fixture(scope="module")
def folder(generator, tmp_path_factory):
    return run(tmp_path_factory.mktemp("batch"), generator)


def test_the_table_says_where_each_case_comes_from(folder, generator):
    rows = read_table(folder)
    assert [row["case_id"] for row in rows] == [f"b-{i:04d}" for i in range(4)]
    made = load(generator)
    heads = {head.patient: head for head in made.anatomies.heads}
    for index, row in enumerate(rows):
        assert row["patient_id"] == f"synthetic-{row['case_id']}"
        assert (row["study"], row["generator"], row["seed"], row["intent"]) == ("brain", "tiny", "7", "training-only")
        donors = tuple(row["donors"].split(";"))
        assert donors == made.anatomies.anatomy(index, 7).donors
        assert {key: row[key] for key in ("site", "sex")} == heads[donors[0]].attributes


def test_the_card_carries_the_generators_patients_and_terms(folder):
    card = cards.read(folder)
    assert (card.stage, card.name, card.study) == ("synthesize", "b", "brain")
    assert card.patients == tuple(PEOPLE[:6]) and card.terms == ("CC0",)
    assert card.facts["cases"] == 4 and card.facts["heads"] == 4


def test_the_card_carries_the_epsilon_of_a_private_generator(folder, generator, tmp_path):
    assert "privacy" not in cards.read(folder).facts
    private = tmp_path / "private"
    shutil.copytree(generator, private)
    card, promise = cards.read(private), {"epsilon": 3.2, "delta": 1e-3}
    cards.write(private, dataclasses.replace(card, facts={**card.facts, "privacy": promise}))
    assert cards.read(run(tmp_path, private)).facts["privacy"] == promise


def test_a_written_case_is_the_sample_and_prepares_to_it(folder, generator):
    made = load(generator)
    anatomy = made.anatomies.anatomy(1, 7)
    [image] = made.sample([anatomy], [{}], np.random.default_rng([7, 1, 1]))
    volume = load_case(folder / "b-0001", CHANNELS)
    assert volume.spacing_known
    np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), anatomy.spacing_mm, rtol=1e-5)
    np.testing.assert_array_equal(volume.label, anatomy.label)
    for channel, name in enumerate(CHANNELS):
        inside = anatomy.map > 0
        np.testing.assert_allclose((volume.images[name] / 1000 - 0.3)[inside], image[channel][inside], atol=0.00051)
        assert ((volume.images[name] > 0) == (anatomy.map > 0)).all()  # dark tissue is not background
    again = prepare_volume(volume, CHANNELS, PREPARE)
    assert set(np.unique(again.label)) == set(np.unique(anatomy.label))


def test_unknown_spacing_stays_unknown(tmp_path):
    made = store(tmp_path, spacing_known=False)
    folder = run(tmp_path, trained(tmp_path, made), dataclasses.replace(BATCH, cases=1))
    assert not load_case(folder / "b-0000", CHANNELS).spacing_known


def test_a_case_does_not_depend_on_how_many_there_are(folder, generator, tmp_path):
    small = run(tmp_path, generator, dataclasses.replace(BATCH, cases=2))
    for case in ("b-0000", "b-0001"):
        assert digest(small / case) == digest(folder / case)
    assert read_table(small) == read_table(folder)[:2]


def test_seeds_differ(folder, generator, tmp_path):
    other = run(tmp_path, generator, dataclasses.replace(BATCH, cases=1, seed=8))
    assert digest(other / "b-0000") != digest(folder / "b-0000")


@pytest.mark.usefixtures("one_process")
def test_a_killed_synthesis_continues_and_ends_the_same(folder, generator, tmp_path, monkeypatch):
    written = []
    write_case = sampling.write_case

    def failing(*arguments):
        written.append(arguments[1])
        write_case(*arguments)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(sampling, "write_case", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, generator)
    assert not (tmp_path / "b").exists()
    assert not [p for p in tmp_path.rglob("*") if ".half." in p.name]
    run(tmp_path, generator)
    assert written == ["b-0000", "b-0001", "b-0002", "b-0002", "b-0003"]
    assert digest(tmp_path / "b") == digest(folder)


def test_pieces_lost_from_scratch_are_made_again_the_same(folder, generator, tmp_path):
    run(tmp_path, generator)
    shutil.rmtree(next((tmp_path / "scratch").rglob("b-0001")))
    shutil.rmtree(tmp_path / "b")
    assert digest(run(tmp_path, generator)) == digest(folder)


@pytest.mark.parametrize("split", ["validation", "hold-out", None])
def test_a_generator_that_learned_from_a_patient_kept_apart_is_refused(generator, tmp_path, split):
    splits = {name: value for name, value in (TABLE | {"patient2": split}).items() if value}
    with pytest.raises(LineageError, match="patient2"):
        run(tmp_path, generator, splits=splits)
    assert not (tmp_path / "b").exists()


def test_an_undeclared_lesion_in_an_anatomy_is_refused(generator, tmp_path):
    copy = shutil.copytree(generator, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["lesions"][0]["patient"] = "patient6"  # of the validation split
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LineageError, match="patient6"):
        run(tmp_path, copy)
    assert not (tmp_path / "b").exists()


def test_a_generator_of_another_study_is_refused(generator, tmp_path):
    with pytest.raises(LineageError, match="of study lung"):
        run(tmp_path, generator, dataclasses.replace(BATCH, study="lung"))
