import dataclasses
import json
from itertools import permutations

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_heads import CHANNELS, PEOPLE, PREPARE, ROW, planted, store, trained, volume

from synthgate import cards
from synthgate.cohort.prepare import prepare_volume
from synthgate.errors import CohortError, LineageError
from synthgate.files import digest
from synthgate.generators.anatomy import FIRST_CLUSTER
from synthgate.generators.training import head_of
from synthgate.params import Patients


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made)


def test_the_card_names_exactly_the_patients_it_learned_from(folder):
    card = cards.read(folder)
    assert card.patients == tuple(PEOPLE[:6])
    assert (card.stage, card.name, card.study, card.terms) == ("train_generator", "tiny", "brain", ("CC0",))
    assert card.facts == {"clusters": 3, "heads": 6, "lesions": 5}


def test_clusters_find_what_was_planted_and_heads_hold_no_lesion(made, folder):
    weights = load_file(folder / "weights.safetensors")
    for case in made.select("train"):
        codes = weights[f"head.{case.case}"]
        assert set(np.unique(codes)) <= {0, 16, 17, 18}
        np.testing.assert_array_equal(codes > 0, head_of(made.image(case)) | (made.label(case) > 0))
        # the truth on the prepared grid; clusters are numbered by brightness, so each is matched to one planted
        clusters, _ = planted(PEOPLE.index(case.patient))
        whole = dataclasses.replace(volume(PEOPLE.index(case.patient)), label=(clusters + 1).astype(np.uint8))
        truth = prepare_volume(whole, CHANNELS, PREPARE).label
        inside = (codes > 0) & (truth > 0)
        matches = [
            (np.array(order)[codes[inside] - FIRST_CLUSTER] == truth[inside]).mean()
            for order in permutations([1, 2, 3])
        ]
        assert max(matches) > 0.9  # also under the lesion; borders are mixed by the scaling


def test_the_contrast_table_is_the_mean_over_patients(made, folder):
    weights, config = load_file(folder / "weights.safetensors"), json.loads((folder / "config.json").read_text())
    assert config["classes"] == [1, 2, 16, 17, 18]
    assert set(config["heads"][0]["attributes"]) == {"site", "sex"}  # no more about a patient than is needed
    cases = made.select("train")
    means = [made.image(case)[:, made.label(case) == 2].mean(1) for case in cases if made.label(case).any()]
    np.testing.assert_allclose(weights["contrast.mean"][1], np.mean(means, 0), atol=1e-5)
    np.testing.assert_allclose(weights["contrast.sd"][1], np.std(means, 0), atol=1e-5)


def test_a_validation_patient_in_the_training_is_refused(made, tmp_path):
    cases = [case for case in made.cases if case.split != "hold-out"]
    with pytest.raises(LineageError, match="patient6 is of the split validation"):
        trained(tmp_path, made, cases=cases, patients=PEOPLE)
    assert not (tmp_path / "tiny").exists()


def test_a_training_patient_who_was_not_chosen_is_refused(made, tmp_path):
    with pytest.raises(LineageError, match="patient0 is not among the 2"):
        trained(tmp_path, made, cases=made.select("train"), patients=PEOPLE[1:3])


def test_a_subset_sees_nobody_else(made, tmp_path):
    small = trained(tmp_path, made, dataclasses.replace(ROW, patients=Patients(2, 1)))
    card, config = cards.read(small), json.loads((small / "config.json").read_text())
    assert len(card.patients) == 2
    assert {head["patient"] for head in config["heads"]} == set(card.patients)
    text = (small / "config.json").read_text()
    assert not [name for name in PEOPLE if name not in card.patients and name in text]


def test_no_lesion_to_place_is_refused(made, tmp_path):
    lesionless = [case for case in made.cases if case.patient == "patient5"]
    with pytest.raises(CohortError, match="none of its 1 patients has a lesion"):
        trained(tmp_path, made, cases=lesionless, patients=["patient5"])
    assert not (tmp_path / "tiny").exists()


@pytest.mark.usefixtures("one_process")
def test_a_killed_training_continues_and_ends_the_same(made, folder, tmp_path, monkeypatch):
    from synthgate.generators import training

    calls = []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return complete(*arguments)

    complete = training.complete
    monkeypatch.setattr(training, "complete", failing)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, made)
    assert not (tmp_path / "tiny").exists()
    assert not [p for p in tmp_path.rglob("*") if ".half." in p.name]
    trained(tmp_path, made)
    assert len(calls) == 4 + 3  # the three finished heads were not made again
    assert digest(tmp_path / "tiny") == digest(folder)
