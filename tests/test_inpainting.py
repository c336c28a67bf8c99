"""Lesions painted into real training heads, end to end at toy size; regions by themselves."""

import dataclasses

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import load_file
from scipy import ndimage
from test_latent import LATENT
from test_learned import DIFFUSION, GAN
from tiny_heads import BATCH, TABLE, store, trained

from synthgate import cards
from synthgate.cohort.folder import read_table
from synthgate.errors import ArtefactError, CohortError
from synthgate.generators.anatomy import FIRST_CLUSTER
from synthgate.generators.generator import load
from synthgate.generators.learned.conditions import Conditions, image_of
from synthgate.generators.learned.inpainting import REACH, SOLID, Gaps, weights_of
from synthgate.generators.learned.slices import Slices
from synthgate.generators.sampling import synthesize
from synthgate.params import Privacy, Steer
from synthgate.params.making import Generator
from synthgate.scratch import Scratch

ROW = dataclasses.replace(DIFFUSION, paints="lesion")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module", params=[ROW, dataclasses.replace(GAN, paints="lesion")], ids=["diffusion", "gan"])
def folder(request, made, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made, request.param)


def painted(folder, made, index, draws=1):
    """Anatomy, median of images, its head's real image and label, and the share of each voxel that may be painted."""
    generator = load(folder)
    anatomy = generator.anatomies.anatomy(index, 1)
    rng = np.random.default_rng(3)
    image = np.median([generator.sample([anatomy], [anatomy.attributes], rng)[0] for _ in range(draws)], axis=0)
    [case] = [case for case in made.cases if case.case == anatomy.real.key]
    label = made.label(case)
    away = np.stack([_distance(plane) for plane in np.moveaxis((label > 0) | (anatomy.label > 0), 2, 0)], axis=2)
    return anatomy, image, made.image(case), label, away


def _distance(lesion):
    """To the nearest pixel of the lesion, by looking at all of them."""
    pixels = np.argwhere(lesion)
    grid = np.stack(np.meshgrid(*map(np.arange, lesion.shape), indexing="ij"), axis=-1)
    apart = np.linalg.norm(grid[:, :, None] - pixels, axis=-1)
    return apart.min(axis=2) if len(pixels) else np.full(lesion.shape, np.inf)


def test_outside_the_region_pixels_are_the_patients_and_inside_they_are_not(folder, made):
    for index in range(3):
        anatomy, image, real, _, away = painted(folder, made, index)
        outside, solid = away >= REACH, (away <= SOLID) & (anatomy.map > 0)
        assert image.dtype == np.float32 and image.shape == real.shape
        assert outside[anatomy.map > 0].mean() > 0.3
        np.testing.assert_array_equal(image[:, outside], real[:, outside])
        assert (image[:, solid] != real[:, solid]).mean() > 0.95
        assert not image[:, anatomy.map == 0].any()


def test_the_new_lesion_is_as_bright_as_the_patients_own_and_that_one_is_gone(folder, made):
    tried = 0
    for index in range(6):
        # shading is left to chance, and slices as small as these have much of it
        anatomy, image, real, label, _ = painted(folder, made, index, draws=64)
        for value in (1, 2):
            if (label == value).any() and (anatomy.label == value).sum() > 50:
                new, old = (part[:, one == value].mean(1) for part, one in ((image, anatomy.label), (real, label)))
                np.testing.assert_allclose(new, old, atol=0.1)
        gone = (label == 1) & (anatomy.label == 0)
        if gone.sum() > 20:
            tried += 1
            tissue = {c: real[:, (anatomy.map == c) & (label == 0)].mean(1) for c in np.unique(anatomy.map[gone])}
            healthy = np.mean([tissue[code] for code in anatomy.map[gone]], axis=0)
            np.testing.assert_allclose(image[:, gone].mean(1), healthy, atol=0.08)
            assert np.abs(real[:, gone].mean(1) - healthy).max() > 0.2
    assert tried > 1


def test_the_head_keeps_its_shape_and_its_patient_is_the_first_donor(folder, made):
    generator = load(folder)
    heads = {head.key: head for head in generator.anatomies.heads}
    patients = {case.case: case.patient for case in made.cases}
    for index in range(4):
        anatomy = generator.anatomies.anatomy(index, 1)
        head = heads[anatomy.real.key]
        healthy = anatomy.map >= FIRST_CLUSTER
        np.testing.assert_array_equal(anatomy.map[healthy], head.map[healthy])
        np.testing.assert_array_equal(anatomy.map > 0, head.map > 0)
        assert anatomy.donors[0] == patients[head.key] and len(anatomy.donors) == 2
        [case] = [case for case in made.cases if case.case == head.key]
        np.testing.assert_array_equal(anatomy.real.lesion, made.label(case) > 0)


def test_a_generator_that_paints_heads_has_no_real_pixels(made, tmp_path):
    whole = trained(tmp_path, made, DIFFUSION)
    assert not list(whole.glob("image-*")) and "paints" not in cards.read(whole).facts
    assert load(whole).anatomies.anatomy(0, 1).real is None


def test_a_wished_site_chooses_heads_and_the_batch_says_that_it_is_inpainted(folder, tmp_path):
    batch = dataclasses.replace(BATCH, steer=Steer(attributes={"site": {"B": 1.0}}))
    with Scratch.opened("synthesize", {}, root=tmp_path / "scratch") as scratch:
        synthesize(folder, tmp_path / "b", batch, "b", scratch, splits=TABLE, inputs={})
    rows = read_table(tmp_path / "b")
    assert len(rows) == BATCH.cases and {row["site"] for row in rows} == {"B"}
    assert all(int(row["donors"].split(";")[0][-1]) % 2 for row in rows)  # patients of site B have odd numbers
    assert cards.read(tmp_path / "b").facts["paints"] == cards.read(folder).facts["paints"] == "lesion"


def test_the_folder_holds_the_images_of_its_heads_and_misses_one_that_is_gone(made, tmp_path):
    folder = trained(tmp_path, made, ROW)
    for head in load(folder).anatomies.heads:
        [case] = [case for case in made.cases if case.case == head.key]
        kept = load_file(folder / f"image-{head.key}.safetensors")["image"]
        np.testing.assert_array_equal(np.moveaxis(kept, 0, 3), made.image(case))
    (folder / f"image-{head.key}.safetensors").unlink()
    with pytest.raises(ArtefactError, match=head.key):
        load(folder)


def test_samples_in_reports_show_no_real_pixels(made, tmp_path, monkeypatch):
    """The pictures of a painter that adds nothing are black but for its regions."""
    from synthgate.generators.learned import teaching

    shown = []
    monkeypatch.setattr(teaching.imagecodecs, "png_encode", lambda pixels: shown.append(pixels) or b"")
    trained(tmp_path, made, ROW)
    shares = [(one > 0).mean() for one in shown]
    shown.clear()
    trained(tmp_path / "whole", made, DIFFUSION)
    assert all(0.01 < share < 0.8 * (one > 0).mean() for share, one in zip(shares, shown, strict=True))


@pytest.mark.parametrize(
    "with_", [{"privacy": Privacy(epsilon=8.0, delta=0.01, clip=1.0, patients=3)}, {"latent": LATENT}],
    ids=["privacy", "latent"],
)  # fmt: skip
def test_real_pixels_go_with_neither_privacy_nor_an_autoencoder(with_):
    with pytest.raises(ValidationError, match=f"paints: lesion and {next(iter(with_))} exclude each other"):
        dataclasses.replace(ROW, **with_)


def test_a_row_paints_heads_unless_it_says_so():
    assert DIFFUSION.paints == GAN.paints == "head"
    with pytest.raises(ValidationError, match="paints"):
        TypeAdapter(Generator).validate_python({"kind": "randomised", "paints": "lesion"})


def test_weights_are_whole_at_the_lesion_nothing_beyond_reach_and_without_an_edge():
    lesion = np.zeros((2, 40, 40), bool)
    lesion[0, 15:22, 12:30] = np.random.default_rng(0).random((7, 18)) < 0.5
    weight, away = weights_of(lesion), _distance(lesion[0])
    assert not weight[1].any() and weight.dtype == np.float32
    assert (weight[0, away <= SOLID] == 1).all()
    np.testing.assert_array_equal(weight[0] > 0, away < REACH)
    order = np.argsort(away, axis=None)
    assert (np.diff(weight[0].flat[order]) <= 1e-6).all()
    assert max(np.abs(np.diff(weight[0], axis=axis)).max() for axis in (0, 1)) < 0.51  # 1.5 / 3, its steepest


def test_gaps_are_around_the_own_lesion_and_one_other_place_in_the_head():
    codes = np.zeros((48, 48), np.uint8)
    codes[4:44, 4:44] = FIRST_CLUSTER
    codes[10:14, 10:13] = 2
    shape = np.zeros((48, 48, 1), np.uint8)
    shape[20:25, 30:33] = 1
    gaps = Gaps.of([shape])
    places = set()
    for seed in range(40):
        region = gaps.region(codes, np.random.default_rng(seed))
        assert region[np.isin(codes, (1, 2))].all() and not region[codes == 0].any()
        np.testing.assert_array_equal(region, gaps.region(codes, np.random.default_rng(seed)))
        parts, count = ndimage.label(region)
        assert count <= 2
        places.add(tuple(np.argwhere(parts == count).mean(0).round().astype(int)))
    assert len(places) > 30
    with pytest.raises(CohortError, match="none of the patients"):
        Gaps.of([np.full((4, 4, 1), FIRST_CLUSTER, np.uint8)])


def test_training_slices_hold_the_image_around_their_gaps_and_what_the_gap_lacks(made):
    cases = made.select("train")
    maps = [np.where(made.label(case) > 0, made.label(case), (made.image(case).max(0) > 0) * 16) for case in cases]
    maps = [codes.astype(np.uint8) for codes in maps]
    conditions = Conditions.of((1, 2, 16), (), [], True)
    tables = [np.full((256, 4), 0.5, np.float32)] * len(cases)
    slices = Slices(made, cases, maps, tables, conditions, 0, Gaps.of(maps))
    rows = slices.index()
    residual, told, _ = slices.take(rows, None, np.arange(len(rows)))
    region = told[:, -1:]
    for (number, plane), one, there in zip(rows, image_of(residual, told), told[:, -2], strict=True):
        image = made.image(cases[number])[:, :, :, plane]
        np.testing.assert_allclose(one[:, there > 0], image[:, there > 0], atol=1e-6)
    assert not (residual * (1 - region)).any() and (residual * region).any(axis=(1, 2, 3)).all()
    others = [slices.take(rows, None, seeds)[1][:, -1] for seeds in (1 + np.arange(len(rows)), None, None)]
    assert (others[0] != region[:, 0]).any() and (others[1] == others[2]).all()


def test_within_a_region_the_mean_image_is_told_and_around_it_the_image():
    conditions = Conditions.of([1, 16], (), [], True)
    planes = np.random.default_rng(0).random((1, 6, 6, 6)).astype(np.float32)
    image, region = np.full((1, 2, 6, 6), 7, np.float32), np.zeros((1, 6, 6), bool)
    region[:, 2:4] = True
    told = conditions.within(planes, image, region)
    assert told.shape[1] == conditions.channels(2) == 7 and told.dtype == np.float32
    assert (told[:, :2, ~region[0]] == 7).all()
    np.testing.assert_array_equal(told[:, :2, region[0]], planes[:, :2, region[0]])
    np.testing.assert_array_equal(told[:, 2:6], planes[:, 2:])
    np.testing.assert_array_equal(told[:, 6], region)
