"""The pure parts of bench/prove.py and bench/partitions.py: drawing, judging, intervals and tables at tiny size."""

import itertools
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats
from tiny_measured import numbers, reference, trial

from bench import curves, defects, partitions, prove, report, trials
from bench.defects import Pool
from synthgate.errors import ArtefactError, ParamsError
from synthgate.gate import controls, plants

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = reference(images=True)
FRESH = numbers(60, 900, "fresh", images=True)
POOL = Pool(
    12, FRESH, REFERENCE, lambda name: REFERENCE.rows(REFERENCE.split == "train") if "copies" in name else FRESH
)
SPLITS = dict(zip(REFERENCE.group.tolist(), REFERENCE.split.tolist(), strict=True))
LINES = defects.catalogue(defects.ALL_MEASURED, POOL.size)


def judged(name, seed=0):
    line = LINES[name]
    batch = line.draw(POOL, np.random.default_rng(seed))
    before = trial(batch, REFERENCE, split_of=SPLITS)
    return trials.judged(before, line.plant, before.batch, before.reference)


@pytest.mark.parametrize("name", LINES)
def test_every_defect_is_drawn_as_a_batch_from_outside_and_alike_by_the_same_seed(name):
    batch, again = (LINES[name].draw(POOL, np.random.default_rng(1)) for _ in range(2))
    assert 0 < len(batch) <= POOL.size
    assert set(batch.split) == {"synthetic"}
    assert len(set(batch.case)) == len(batch)
    assert np.array_equal(batch.descriptors, again.descriptors)


def test_a_graded_number_of_copies_is_in_the_batch_and_judged():
    rows = {count: judged(f"exact_copies-{count}") for count in (1, 5)}
    assert all(row["right"] and "privacy" in row["by"] for row in rows.values())
    assert (rows[1]["verdict"], rows[5]["verdict"]) == ("limited", "rejected")
    assert rows[5]["failed"]["privacy/image_copies"] == "thins"
    batch = LINES["exact_copies-3"].draw(POOL, np.random.default_rng(0))
    known = {tiny.tobytes() for tiny in POOL.train.thumbnail}
    assert sum(tiny.tobytes() in known for tiny in batch.thumbnail) == 3


def test_a_contaminated_batch_has_its_part_and_nobody_twice():
    spoiled = trials.dataclasses.replace(FRESH, foreign=FRESH.foreign + 1)
    pool = trials.dataclasses.replace(POOL, spoiled=lambda name: spoiled)
    for part in defects.AMONG:
        batch = defects.contaminated(part)(pool, np.random.default_rng(2))
        assert (batch.foreign.sum(), len(batch)) == (round(part * POOL.size), POOL.size)
        assert len({tiny.tobytes() for tiny in batch.thumbnail}) == POOL.size


def test_whole_batches_are_of_one_group_or_of_large_lesions():
    one = defects.all_of_one("site")(POOL, np.random.default_rng(0))
    assert len({json.loads(text)["site"] for text in one.attributes}) == 1 and len(one) == POOL.size
    volume = FRESH.descriptors[:, 1]
    large = defects.large_only(0.5)(POOL, np.random.default_rng(0))
    assert (large.descriptors[:, 1] > np.median(volume)).all() and len(large) == POOL.size


def test_unseen_patients_of_a_part_stay_in_it_and_a_redrawn_reference_has_nobody_of_the_batch():
    line, (batch, others) = prove.unseen(f"{prove.UNSEEN}:1", POOL, 4, np.random.default_rng(0))
    assert others is REFERENCE and set(batch.case) <= set(FRESH.case[1::4])
    inside = np.arange(len(FRESH)) % 2 == 0
    batch, others = defects.fresh_reference(POOL, inside, np.random.default_rng(0))
    assert not set(batch.case) & set(others.case) and set(batch.case) <= set(FRESH.case[::2])
    assert set(others.split) == {"train", "validation"}
    redrawn = prove.unseen(f"{prove.REDRAWN}:0", POOL, 2, np.random.default_rng(0))[0]
    assert len(line.axes) == len(redrawn.axes) + 1
    row = trials.judged(trial(batch, REFERENCE), controls.GOOD, batch, others, redrawn.axes)
    assert "privacy" not in row["by"] and row["cases"] == POOL.size


def test_a_share_has_the_exact_interval_and_a_wider_one_for_fewer_effective_batches():
    for hits, total in ((0, 20), (3, 20), (20, 20)):
        exact = stats.binomtest(hits, total).proportion_ci(trials.CONFIDENCE, method="exact")
        found = trials.share(hits, total)
        assert (found["low"], found["high"]) == pytest.approx((exact.low, exact.high))
    wide = trials.share(3, 20, effective=7.5)
    assert wide["low"] < trials.share(3, 20)["low"] and wide["high"] > trials.share(3, 20)["high"]


def test_the_jackknife_of_a_mean_is_its_variance():
    values = np.random.default_rng(0).normal(size=8)
    subsets = [list(some) for some in itertools.combinations(range(8), 3)]
    members = np.array([[i in some for i in range(8)] for some in subsets])
    found = trials.jackknife(np.array([values[some].mean() for some in subsets]), members)
    assert found == pytest.approx(values.var(ddof=1) / 8)


def test_batches_that_share_patients_count_for_less():
    rng = np.random.default_rng(3)
    members = np.array([rng.permutation(40) < 10 for _ in range(400)])
    hits = members[:, :2].any(axis=1)  # two patients decide
    found, independent = trials.over_patients(hits, members), trials.share(int(hits.sum()), 400)
    assert found["high"] - found["low"] > 2 * (independent["high"] - independent["low"])
    assert trials.over_patients(hits & False, members) == trials.share(0, 400)
    by_chance = trials.over_patients(rng.random(400) < 0.3, members)
    assert by_chance["high"] - by_chance["low"] < 0.2


def test_blocks_give_students_interval():
    found = trials.over_blocks([[True, False], [False, False], [False, True]])
    assert found["share"] == pytest.approx(1 / 3) and found["low"] == 0.0
    assert trials.over_blocks([[True]]) is None


def made_up(right, axis="drift", cases=24):
    return {"cases": cases, "verdict": "rejected" if right else "limited", "by": [axis] if right else [],
            "failed": {f"{axis}/blur": "rejects"} if right else {}, "right": right}  # fmt: skip


def test_the_report_tells_shares_and_the_first_severity_that_is_noticed():
    rows = {f"{prove.UNSEEN}:{part}": [made_up(part == 0 and i == 0) for i in range(10)] for part in range(2)}
    rows |= {"gamma-0.9": [made_up(i < 5) for i in range(20)], "gamma-0.8": [made_up(True)] * 20,
             "gamma-0.65": [made_up(True)] * 20, "one_site-1": []}  # fmt: skip
    found = report.summary(rows, 2, 24) | {"strangers": {"0.001": trials.share(1, 1000)}}
    assert found["unseen"][prove.UNSEEN]["refused"]["share"] == pytest.approx(0.05)
    assert found["unseen"][prove.UNSEEN]["axes"]["drift"]["rejects"]["share"] == pytest.approx(0.05)
    assert found["defects"]["gamma-0.9"]["right"]["share"] == 0.25 and "one_site-1" not in found["defects"]
    text = report.markdown(found, 480, 24)
    assert "| gamma | drift | rejected | 24 | 0.9: 25.0%" in text and "| 0.8 |\n" in text
    picture = ElementTree.fromstring(curves.svg(found["defects"]))
    panel = picture.find("{*}g")
    assert [text.text for text in panel.findall("{*}text")] == ["gamma", "0.9", "0.8", "0.65"]
    heights = [float(point.split(",")[1]) for point in panel.find("{*}polyline").get("points").split()]
    bottom, top = curves.HIGH - curves.EDGE, curves.EDGE
    assert heights == pytest.approx([bottom - 0.25 * (bottom - top), top, top], abs=0.1)
    assert report.noticed(rows, plants.TO_MEASURE) == {"gamma"}
    assert {plant.kind for plant in defects.stronger(["noise", "swapped_channels"])} == {"noise"}


def test_a_partition_parts_everybody_and_repeats_itself():
    parts = partitions.partition(REFERENCE, 15, 0, 3)
    everybody = np.sort(np.concatenate([parts.batch, parts.train, parts.unseen]))
    assert everybody.tolist() == list(range(len(REFERENCE))) and len(parts.batch) == 15
    assert np.array_equal(parts.batch, partitions.partition(REFERENCE, 15, 0, 3).batch)
    others = parts.reference(REFERENCE)
    assert (others.split == "validation").sum() == round(45 * 18 / 60)


def test_a_defect_of_a_partition_is_in_its_batch_and_copies_are_of_its_training_patients():
    parts, rng = partitions.partition(REFERENCE, 15, 0, 0), np.random.default_rng(0)
    spoiled = trials.dataclasses.replace(REFERENCE, descriptors=REFERENCE.descriptors + 5)
    batch = partitions.batch_of("blur-0.5", REFERENCE, spoiled, parts, rng)
    assert np.array_equal(batch.descriptors, REFERENCE.descriptors[parts.batch] + 5)
    copied = partitions.batch_of("mirrored_copies-1", REFERENCE, spoiled, parts, rng).descriptors[: plants.COPIES]
    theirs = REFERENCE.descriptors[parts.train] + 5
    assert all((row == theirs).all(axis=1).any() for row in copied)
    assert partitions.batch_of("blur-0.5", REFERENCE, None, parts, rng) is None
    for plant, _ in plants.ROW_PLANTS:
        assert len(partitions.batch_of(plant.name, REFERENCE, None, parts, rng)) > 0


def test_partitions_are_summed_up():
    settings = partitions.Settings(size=15)
    rows = {name: [made_up(False) | {"partition": i} for i in range(6)] for name in (partitions.GOOD, "blur-0.5")}
    found = partitions.summary(settings, REFERENCE, rows)
    assert found["unseen"]["refused"]["share"] == 0 and found["defects"]["blur-0.5"]["right"]["high"] < 0.5
    site = {"site": "A", "cases": 20, "verdict": "rejected", "by": ["drift"], "failed": {"drift/t1_mean": "rejects"}}
    assert "| A | 20 | rejected | drift | drift/t1_mean (rejects) |" in partitions.markdown(
        found | {"sites": [site]}, 60, 15
    )


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtefactError, match="build/brain is missing; run `dvc repro"):
        trials.convene("brain")
    with pytest.raises(ParamsError, match="no study lung"):
        trials.convene("lung")
    with pytest.raises(ParamsError, match="--spoiled"):
        prove.asked(["--patients", "100"])
