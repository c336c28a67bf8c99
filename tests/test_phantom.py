"""The simulated cohort: its contract, its determinism, and that it looks like glioma MRI where numbers can say so."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from synthgate.cohort import folder
from synthgate.cohort.phantom import anatomy, contrast, fields, lesions, scanner, simulate
from synthgate.cohort.phantom.parameters import KINDS, LARGEST_ML, SMALLEST_ML, draw
from synthgate.cohort.phantom.template import NOTICE, template
from synthgate.cohort.readers import cohort_folder
from synthgate.errors import CohortError, ParamsError
from synthgate.files import digest, read_json

SEED = 7


def parameters(index):
    return draw(np.random.default_rng([SEED, index]))


@pytest.fixture(scope="module")
def drawn():
    return [parameters(index) for index in range(400)]


@pytest.fixture(scope="module")
def rendered(drawn):
    """One patient of every kind: (parameters, volume)."""
    first = {kind: next(p for p in drawn if p.lesion.kind == kind) for kind in KINDS}
    return {kind: (p, simulate.render(p)) for kind, p in first.items()}


def test_volume_keeps_the_contract(rendered):
    for patient, volume in rendered.values():
        assert tuple(volume.images) == ("t1", "t1ce", "t2", "flair")
        shape = volume.label.shape
        brain = volume.images["t1"] > 0
        for image in volume.images.values():
            assert image.shape == shape and image.dtype == np.float32
            assert np.array_equal(image, np.rint(image)) and image.min() >= 0 and image.max() < 2**15
            assert np.array_equal(image > 0, brain), "all channels have the same brain, and exactly 0 around it"
        assert volume.label.dtype == np.uint8 and set(np.unique(volume.label)) <= {0, 1, 2, 4}
        assert brain[volume.label > 0].all()
        litres = brain.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1e6
        assert 0.8 < litres < 1.9, patient
        # the brain does not touch the sides of the grid; below, the brain stem is cut as by a field of view
        assert not brain[[0, -1]].any() and not brain[:, [0, -1]].any() and not brain[..., -1].any()


def test_labels_follow_the_kind(rendered):
    present = {kind: {int(v) for v in np.unique(volume.label)} - {0} for kind, (_, volume) in rendered.items()}
    assert present["none"] == set()
    assert present["diffuse"] == {lesions.OEDEMA}
    assert lesions.ENHANCING not in present["plain"] and lesions.NECROSIS in present["plain"]
    assert lesions.ENHANCING in present["ring"] and lesions.ENHANCING in present["solid"]


def test_volume_of_the_lesion_is_the_drawn_one(rendered):
    for kind, (patient, volume) in rendered.items():
        ml = (volume.label > 0).sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000
        assert kind == "none" or 0.7 * patient.lesion.volume_ml < ml < 1.15 * patient.lesion.volume_ml + 0.1


def test_necrosis_lies_within_the_rim(drawn):
    patient = next(p for p in drawn if p.lesion.kind == "ring" and p.lesion.volume_ml > 50)
    label = simulate.render(patient).label
    core = np.isin(label, (lesions.NECROSIS, lesions.ENHANCING))
    steps = [np.roll(core, by, axis) for axis in range(3) for by in (-1, 1)]
    border, inside = core & ~np.all(steps, axis=0), core & np.all(steps, axis=0)
    # a rim may gape here and there
    assert (label[border] == lesions.ENHANCING).mean() > 0.6 > (label[inside] == lesions.ENHANCING).mean()


def test_cohort_is_varied(drawn):
    volumes = np.array([p.lesion.volume_ml for p in drawn if p.lesion.kind != "none"])
    assert volumes.min() >= SMALLEST_ML and volumes.max() <= LARGEST_ML
    assert np.quantile(volumes, 0.05) < 5 and np.quantile(volumes, 0.95) > 80
    kinds = [p.lesion.kind for p in drawn]
    assert 0.015 < kinds.count("none") / 400 < 0.075
    assert 0.15 < (kinds.count("plain") + kinds.count("diffuse")) / 400 < 0.40
    for site in scanner.SCANNERS:
        assert 0.25 < np.mean([p.site == site for p in drawn]) < 0.42
    assert {p.sex for p in drawn} == {"F", "M"}
    heads = {sex: np.mean([np.prod(p.size) for p in drawn if p.sex == sex]) for sex in "FM"}
    assert heads["M"] > heads["F"]
    assert np.corrcoef([p.age for p in drawn], [p.atrophy for p in drawn])[0, 1] > 0.5


def test_patient_depends_on_seed_and_index_alone():
    first, attributes = simulate.patient(SEED, 3)
    simulate.patient(SEED, 4)
    again, same = simulate.patient(SEED, 3)
    assert attributes == same
    assert np.array_equal(first.label, again.label)
    assert all(np.array_equal(first.images[c], again.images[c]) for c in first.images)
    other, _ = simulate.patient(SEED + 1, 3)
    assert not np.array_equal(first.images["t1"], other.images["t1"])


def test_signal_orders_tissues_as_mri_does(rendered):
    for kind, (patient, volume) in rendered.items():
        tissue = anatomy.grow(patient, template(), np.random.default_rng(patient.seed))
        healthy = volume.label == 0
        mean = {
            channel: {
                name: image[healthy & (getattr(tissue, name) > 0.9)].mean() for name in ("fluid", "cortex", "white")
            }
            for channel, image in volume.images.items()
        }
        assert mean["t2"]["fluid"] > mean["t2"]["cortex"] > mean["t2"]["white"], kind
        assert mean["t1"]["fluid"] < mean["t1"]["cortex"] < mean["t1"]["white"], kind
        assert mean["flair"]["fluid"] < mean["flair"]["white"] < mean["flair"]["cortex"], kind


def test_lesions_look_like_lesions(rendered):
    for kind in ("ring", "solid", "plain", "diffuse"):
        patient, volume = rendered[kind]
        tissue = anatomy.grow(patient, template(), np.random.default_rng(patient.seed))
        white = (volume.label == 0) & (tissue.white > 0.9)
        ratio = {
            (channel, value): image[volume.label == value].mean() / image[white].mean()
            for channel, image in volume.images.items()
            for value in (lesions.NECROSIS, lesions.OEDEMA, lesions.ENHANCING)
            if (volume.label == value).any()
        }
        assert ratio["flair", lesions.OEDEMA] > 1.2 and ratio["t2", lesions.OEDEMA] > 1.2
        assert ratio["t1", lesions.OEDEMA] < 0.95
        if kind in ("ring", "solid"):
            assert ratio["t1ce", lesions.ENHANCING] > 1.3 * ratio["t1", lesions.ENHANCING]


def test_a_patient_is_somebody(drawn):
    """The same person in another scanner is told from all others."""
    people = [simulate.render(p).images["t1"].ravel() for p in drawn[:5]]
    elsewhere = {"A": "B", "B": "C", "C": "A"}
    for number, patient in enumerate(drawn[:5]):
        seen = simulate.render(dataclasses.replace(patient, site=elsewhere[patient.site])).images["t1"].ravel()
        likeness = [np.corrcoef(seen, other)[0, 1] for other in people]
        assert np.argmax(likeness) == number
        assert likeness[number] - np.median(likeness) > 0.05


def test_age_widens_ventricles_and_sulci(drawn):
    old, young = (dataclasses.replace(drawn[0], atrophy=value) for value in (1.1, -0.1))
    fluid = []
    for patient in (old, young):
        tissue = anatomy.grow(patient, template(), np.random.default_rng(patient.seed))
        central = (tissue.ventricle_mm < 15) & tissue.brain
        fluid.append([tissue.fluid[central].sum(), tissue.fluid[tissue.brain & ~central].sum()])
    assert np.all(np.array(fluid[0]) > 1.1 * np.array(fluid[1]))


def test_tissues_sum_to_one_in_the_brain(drawn):
    tissue = anatomy.grow(drawn[1], template(), np.random.default_rng(0))
    total = tissue.fluid + tissue.cortex + tissue.nuclei + tissue.white
    assert np.allclose(total, tissue.brain, atol=1e-5)


def test_smooth_noise_has_unit_variance_and_the_stated_smoothness():
    grid = fields.Grid((24, 20, 16), (2.0, 2.0, 3.5), (0.0, 0.0, 0.0))
    rng = np.random.default_rng(0)
    sample = np.stack([fields.smooth_noise(rng, grid, 6.0) for _ in range(400)])
    assert np.abs(sample.mean()) < 0.02 and np.abs(sample.var(axis=0).mean() - 1) < 0.03
    # white noise under a Gaussian of sigma correlates as exp(-(d / 2 sigma)^2): here d = 6 mm, then 36 mm
    near = (sample[:, 10, 10, 8] * sample[:, 13, 10, 8]).mean()
    far = (sample[:, 3, 10, 8] * sample[:, 21, 10, 8]).mean()
    assert abs(near - np.exp(-0.25)) < 0.12 and abs(far) < 0.15


def test_grid_index_inverts_its_affine():
    index = np.array([3.0, 5.0, 7.0]).reshape(3, 1, 1, 1)
    world = (anatomy.GRID.affine @ [3, 5, 7, 1])[:3].reshape(3, 1, 1, 1)
    assert np.allclose(anatomy.GRID.index(world), index)


def test_scanner_leaves_a_clean_signal_alone():
    """Without contrast, blur, shading, flicker and noise, an image is its signal times one gain."""
    still = scanner.Scanner((1,) * 4, (1,) * 4, (0,) * 4, (0,) * 4, shading=0, flicker=0)
    rng = np.random.default_rng(0)
    brain = np.ones(anatomy.GRID.shape, bool)
    clean = rng.uniform(0.2, 1.3, anatomy.GRID.shape).astype(np.float32)
    white = dict(zip(contrast.CHANNELS, contrast.SIGNAL["white"], strict=True))
    image = scanner.scan({"t1": clean}, brain, white, still, rng)["t1"]
    gain = image.sum() / clean.sum()
    assert np.abs(image - gain * clean).max() < 1


def test_written_cohort_is_read_back_and_small(tmp_path, capsys):
    simulate.write(tmp_path / "two", "brain", 2, SEED)
    simulate.write(tmp_path / "three", "brain", 3, SEED)
    for case_id in ("phantom-00000-1", "phantom-00001-1"):
        assert digest(tmp_path / "two" / case_id) == digest(tmp_path / "three" / case_id)
    assert "phantom: 2/2 patients" in capsys.readouterr().err
    source = cohort_folder.read(tmp_path / "two")
    assert source.problems == [] and source.channels == contrast.CHANNELS and source.labels == (1, 2, 4)
    assert any(NOTICE in term for term in source.terms)
    assert read_json(tmp_path / "two" / folder.SOURCE)["simulated"] is True
    for index, case in enumerate(source.cases):
        volume, attributes = simulate.patient(SEED, index)
        assert attributes == {"case_id": case.case_id, "patient_id": case.patient_id, **case.attributes}
        stored = case.load()
        assert np.array_equal(stored.label, volume.label) and np.allclose(stored.affine, volume.affine)
        assert all(np.array_equal(stored.images[c], volume.images[c]) for c in volume.images)
    kilobytes = sum(f.stat().st_size for f in (tmp_path / "three").rglob("*.nii.gz")) / 3 / 1000
    assert kilobytes < 500, "a hundred patients must fit into 50 MB"


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    def broken(seed, index):
        raise RuntimeError("power cut")

    monkeypatch.setattr(simulate, "patient", broken)
    with pytest.raises(RuntimeError):
        simulate.write(tmp_path / "out", "brain", 2, SEED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("study", "patients", "seed", "told"),
    [
        ("heart", 2, 0, "expected one of brain, got 'heart'"),
        ("brain", 0, 0, "at least 1"),
        ("brain", 1, -1, "0 or more"),
    ],
)
def test_wrong_wishes_are_refused(tmp_path, study, patients, seed, told):
    with pytest.raises(ParamsError, match=told):
        simulate.write(tmp_path / "out", study, patients, seed)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(CohortError, match="holds something"):
        simulate.write(tmp_path, "brain", 1, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_importing_the_phantom_stays_light():
    code = "import sys, synthgate.cohort.phantom.simulate; print({'torch', 'nilearn', 'sklearn'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
