import dataclasses

import numpy as np
import pytest
from tiny_heads import BATCH, PATIENTS, TABLE, store, trained

from synthgate import cards
from synthgate.cohort.folder import read_table
from synthgate.cohort.prepare import BRIGHTEST
from synthgate.errors import ParamsError
from synthgate.files import digest
from synthgate.generators.generator import load
from synthgate.generators.learned.conditions import fade_of, style_of
from synthgate.generators.sampling import synthesize
from synthgate.params import Compute, Diffusion, Fitting, Gan, Privacy
from synthgate.scratch import Scratch

FITTING = Fitting(steps=4, batch=4, learning_rate=1e-3, ema=0.9, checkpoint_every=2, judged=5, memorised=0.1, inner=0.3)
COMMON = {
    "study": "brain", "patients": PATIENTS, "clusters": 3, "smoothing": 0.5, "recombine": True, "seed": 0,
    "attributes": ("site",), "features": (8, 16, 16), "patch": 2, "fitting": FITTING,
}  # fmt: skip
DIFFUSION = Diffusion(kind="diffusion", flow="rectified", steps=3, guidance=2.0, **COMMON)
GAN = Gan(kind="gan", critic_features=8, critic_levels=2, critic_rate=1e-3, matching=10.0, **COMMON)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module", params=[DIFFUSION, GAN], ids=["diffusion", "gan"])
def folder(request, made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made, request.param)


def test_a_sample_is_an_image_of_its_anatomy(folder):
    generator = load(folder)
    anatomy = generator.anatomies.anatomy(0, 1)
    images = [generator.sample([anatomy], [{"site": s}], np.random.default_rng(3))[0] for s in "AAB"]
    assert images[0].shape == (2, *anatomy.map.shape) and images[0].dtype == np.float32
    assert np.isfinite(images[0]).all() and images[0].min() >= 0 and (images[0][:, anatomy.map == 0] == 0).all()
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()


def test_what_is_painted_on_is_the_mean_image_with_borders_as_wide_as_the_patients(folder, made):
    generator = load(folder)
    painter = dataclasses.replace(generator.painter, brush=lambda condition, group, rng: 0 * condition[:, :2])
    heads, known = {head.key: head.map for head in generator.anatomies.heads}, {}
    for case in made.select("train"):
        label = made.label(case)
        known[case.case] = made.image(case), np.where(label > 0, label, heads[case.case])
    have = [known[case.case] for case in made.select("train") if made.label(case).any()]
    width = fade_of(have, painter.styles.classes)
    assert painter.conditions.fade == width != 1.0  # lesions are as if cut out
    for style, head in zip(painter.styles.known, generator.anatomies.heads, strict=True):
        expected = style_of(*known[head.key], painter.styles.classes, width)
        np.testing.assert_allclose(style, expected, rtol=1e-5)

    anatomy = generator.anatomies.anatomy(0, 1)
    [image] = painter.sample([anatomy], [{"site": "A"}], np.random.default_rng(3))
    table = painter.styles.mixed({"site": "A"}, np.random.default_rng(3))
    codes, shares = np.moveaxis(anatomy.map, 2, 0), np.moveaxis(anatomy.shares, 3, 1)
    mean = painter.conditions.planes(codes, table, shares)[:, :2]
    np.testing.assert_array_equal(np.moveaxis(image, 3, 0), np.clip(mean, 0, BRIGHTEST))


def test_training_is_told_of_borders_as_wide_as_painting_is(folder, made, tmp_path, monkeypatch):
    from synthgate.generators.learned import teaching

    told = []

    def teach(batches, exams, channels, conditions, *rest):
        told.extend([conditions.fade, batches.source.conditions.fade])

    monkeypatch.setattr(teaching, "teach", teach)
    trained(tmp_path, made, DIFFUSION)
    assert told == [load(folder).painter.conditions.fade] * 2


@pytest.mark.parametrize(("least", "lend"), [(53, {"case0", "case1", "case2"}), (60, {f"case{n}" for n in range(5)})])
def test_a_label_of_few_voxels_lends_no_style_unless_all_are_small(least, lend, made, tmp_path, monkeypatch):
    monkeypatch.setattr("synthgate.generators.learned.paintings.FITTED", least)  # necroses have 50 to 58
    generator = load(trained(tmp_path, made, DIFFUSION))
    known, classes = generator.painter.styles.known, list(generator.painter.styles.classes)
    finite = {
        value: {head.key for head, style in zip(generator.anatomies.heads, known, strict=True)
                if np.isfinite(style[classes.index(value)]).any()}
        for value in classes
    }  # fmt: skip
    everybody = {head.key for head in generator.anatomies.heads}
    assert finite == {1: lend, 2: everybody - {"case5"}, 16: everybody, 17: everybody, 18: everybody}


def test_a_patient_with_a_label_of_few_voxels_is_told_its_own_style(folder, made, tmp_path, monkeypatch):
    from synthgate.generators.learned import teaching

    told = {}

    def teach(batches, *rest):
        cases = [case.case for case in batches.source.cases]
        told.update(zip(cases, batches.source.tables, strict=True))

    monkeypatch.setattr("synthgate.generators.learned.paintings.FITTED", 53)
    monkeypatch.setattr(teaching, "teach", teach)
    trained(tmp_path, made, DIFFUSION)
    generator = load(folder)
    heads = [head.key for head in generator.anatomies.heads]
    small = [case for case in ("case3", "case4") if case in told]
    assert small
    for case in small:
        own = generator.painter.styles.known[heads.index(case)]
        np.testing.assert_array_equal(told[case][list(generator.painter.styles.classes)], own)


def test_a_batch_is_written_and_its_card_knows_the_patients(folder, tmp_path):
    with Scratch.opened("synthesize", {}, root=tmp_path / "scratch") as scratch:
        synthesize(folder, tmp_path / "b", BATCH, "b", scratch, splits=TABLE, inputs={})
    assert len(read_table(tmp_path / "b")) == BATCH.cases
    assert cards.read(tmp_path / "b").patients == cards.read(folder).patients


def test_the_card_tells_how_the_checkpoint_was_chosen(folder):
    facts = cards.read(folder).facts
    assert facts["inner_patients"] == 2 and facts["memorised"] is False and facts["stopped_at"] == 4
    assert facts["checkpoint"]["step"] in (2, 4)
    reports = folder.parent / "reports"
    assert len((reports / "curves/loss.csv").read_text().splitlines()) == 3
    columns = "step,kernel_distance,one_nn_accuracy,nearness,chance\n"
    assert (reports / "curves/checkpoints.csv").read_text().startswith(columns)
    assert sorted(p.name for p in (reports / "samples").iterdir()) == ["step-000002.png", "step-000004.png"]


@pytest.mark.parametrize("row", [DIFFUSION, GAN], ids=["diffusion", "gan"])
def test_a_resumed_training_equals_an_uninterrupted_one(made, row, tmp_path, monkeypatch):
    from synthgate.generators.learned import teaching

    whole = trained(tmp_path / "whole", made, row)
    judge, calls = teaching.judge, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(teaching, "judge", failing)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path / "killed", made, row)
    assert not (tmp_path / "killed/tiny").exists()
    monkeypatch.setattr(teaching, "judge", judge)
    assert digest(trained(tmp_path / "killed", made, row)) == digest(whole)


def test_a_painter_that_memorises_is_stopped_and_an_earlier_checkpoint_kept(made, tmp_path, monkeypatch):
    from synthgate.generators.learned import teaching

    judge = teaching.judge

    def judged(step, *shown):
        near, distance = (1.0, 9.0) if step == 2 else (0.05, 0.0)  # the second looks better, but is memory
        return dataclasses.replace(judge(step, *shown), nearness=near, chance=0.0, kernel_distance=distance)

    monkeypatch.setattr(teaching, "judge", judged)
    longer = dataclasses.replace(DIFFUSION, fitting=dataclasses.replace(FITTING, steps=8))
    facts = cards.read(trained(tmp_path, made, longer)).facts
    assert facts["memorised"] and facts["stopped_at"] == 4 and facts["checkpoint"]["step"] == 2


def test_a_private_training_tells_its_epsilon_and_nothing_else(made, tmp_path):
    wished = Privacy(epsilon=8.0, delta=0.01, clip=1.0, patients=3)
    folder = trained(tmp_path, made, dataclasses.replace(DIFFUSION, privacy=wished))
    facts = cards.read(folder).facts
    assert 0 < facts["privacy"]["epsilon"] <= 8.0 and facts["privacy"]["steps"] == 4
    assert "checkpoint" not in facts and facts["inner_patients"] == 0
    assert (tmp_path / "reports/curves/loss.csv").read_text() == "step,loss\n"
    assert not list((tmp_path / "scratch").rglob("secret"))
    other = trained(tmp_path / "other", made, dataclasses.replace(DIFFUSION, privacy=wished))
    assert digest(folder / "model.safetensors") != digest(other / "model.safetensors")  # its noise is secret


def test_private_training_refuses_more_devices(made, tmp_path):
    row = dataclasses.replace(DIFFUSION, privacy=Privacy(epsilon=8.0, delta=0.01, clip=1.0, patients=3))
    with pytest.raises(ParamsError, match="one device"):
        trained(tmp_path, made, row, compute=Compute(devices=2))
