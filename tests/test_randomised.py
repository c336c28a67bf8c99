import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_heads import PEOPLE, ROW, store, trained

from synthgate.errors import ArtefactError, CohortError, LineageError
from synthgate.generators import anatomies
from synthgate.generators.generator import load


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made)


@pytest.fixture
def copy(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "copy")


def test_an_anatomy_is_a_head_with_a_lesion_inside_it(folder):
    generator = load(folder)
    for index in range(12):
        anatomy = generator.anatomies.anatomy(index, 0)
        assert anatomy.label.any() and set(np.unique(anatomy.label)) <= {0, 1, 2}
        assert set(np.unique(anatomy.map)) <= {0, 1, 2, 16, 17, 18}
        # around the lesion is head, in the plane
        assert (anatomy.map[np.roll(anatomy.label > 0, 1, axis=0)] > 0).mean() > 0.95


def test_donors_are_told_truly_and_used_evenly(folder):
    generator = load(folder)
    drawn = [generator.anatomies.donors(index, 3) for index in range(30)]
    pairs = [(head.patient, lesions[0].patient) for head, lesions in drawn]
    heads = Counter(head for head, _ in pairs)
    assert heads == dict.fromkeys(PEOPLE[:6], 5)
    assert all(head != lesion for head, lesion in pairs)
    lesions = Counter(lesion for _, lesion in pairs)
    assert set(lesions) == set(PEOPLE[:5])  # patient5 has none
    assert max(lesions.values()) <= 10
    for index in range(3):
        assert generator.anatomies.anatomy(index, 3).donors == pairs[index]


def test_without_recombination_a_lesion_stays_in_its_own_head(made, tmp_path):
    generator = load(trained(tmp_path, made, dataclasses.replace(ROW, recombine=False)))
    drawn = [generator.anatomies.anatomy(index, 0) for index in range(5)]
    assert sorted(anatomy.donors for anatomy in drawn) == [(name,) for name in PEOPLE[:5]]
    for anatomy in drawn:
        case = next(case for case in made.cases if case.patient == anatomy.donors[0])
        assert 0.6 < (anatomy.label > 0).sum() / (made.label(case) > 0).sum() < 1.3


def test_anatomy_and_sample_are_functions_of_their_seeds(folder):
    one, other = load(folder), load(folder)
    first, second = one.anatomies.anatomy(5, 1), other.anatomies.anatomy(5, 1)
    assert first.map.tobytes() == second.map.tobytes()
    images = [one.sample([first], [{}], np.random.default_rng(seed))[0] for seed in (0, 0, 1)]
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()
    assert images[0].shape == (2, *first.map.shape)
    assert first.map.tobytes() != one.anatomies.anatomy(5, 2).map.tobytes()


def test_the_lesion_of_a_patient_not_on_the_card_is_refused(copy, made):
    weights, config = load_file(copy / "weights.safetensors"), json.loads((copy / "config.json").read_text())
    foreign = next(case for case in made.cases if case.split == "validation")
    planted = config["lesions"][0] | {"key": foreign.case, "patient": foreign.patient}
    config["lesions"].append(planted)
    weights[f"lesion.{foreign.case}"] = weights[f"lesion.{config['lesions'][0]['key']}"]
    save_file(weights, copy / "weights.safetensors")
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LineageError, match="patient6, whom its card does not list"):
        load(copy)


def test_broken_weights_are_told(copy):
    (copy / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(ArtefactError, match="dvc repro"):
        load(copy)
    (copy / "weights.safetensors").unlink()
    with pytest.raises(ArtefactError, match="is missing"):
        load(copy)


def test_another_format_is_told(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"kind": "unheard"}))
    with pytest.raises(ArtefactError, match="expected a kind of randomised"):
        load(copy)


def test_a_lesion_that_fits_no_head_is_told(folder):
    held = dataclasses.replace(load(folder).anatomies, rim=1000.0)
    with pytest.raises(CohortError, match="no lesion fits into the head"):
        held.anatomy(0, 0)


def test_a_lesion_partly_outside_the_brain_is_drawn_again(folder, monkeypatch):
    generator = load(folder)
    seen = []
    place = anatomies.place

    def first_outside(lesion, head, rng, **how):
        label, lost = place(lesion, head, rng, **how)
        seen.append(lost)
        return (np.zeros_like(label), 50) if len(seen) == 1 else (label, lost)

    monkeypatch.setattr(anatomies, "place", first_outside)
    assert generator.anatomies.anatomy(0, 0).label.any()
    assert len(seen) > 1
