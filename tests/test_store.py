import dataclasses
import signal

import numpy as np
import pytest
from tiny_store import CHANNELS, PEOPLE, PREPARE, SHAPE, entries, make, volume

from synthgate.cohort.prepare import prepare_volume
from synthgate.cohort.store import Store, content_of
from synthgate.errors import ArtefactError, CohortError
from synthgate.files import digest


def test_every_case_reads_back_as_it_was_prepared(tiny):
    assert tiny.channels == CHANNELS and tiny.size == (32, 32)
    for seed, case in enumerate(tiny.cases):
        prepared = prepare_volume(volume(seed), CHANNELS, PREPARE)
        assert np.array_equal(tiny.image(case), prepared.image.astype(np.float32))
        assert tiny.image(case).dtype == np.float32
        assert np.array_equal(tiny.label(case), prepared.label)
        assert np.array_equal(tiny.truth(case), volume(seed).label)
        images, labels = tiny.planes(case)
        for plane in range(SHAPE[2]):
            assert np.array_equal(images[plane], prepared.image[..., plane])
            assert np.array_equal(labels[plane], prepared.label[..., plane])
        assert case.geometry == prepared.geometry


def test_cases_fill_shards_of_the_given_size(tiny):
    assert [case.shard for case in tiny.cases] == [f"shard-{i // 2:03d}" for i in range(6)]
    assert len(list(tiny.folder.glob("shard-*"))) == 3
    slices = sum(case.stop - case.start for case in tiny.cases)
    stored = sum(path.stat().st_size for path in tiny.folder.glob("shard-*/images.f16"))
    assert stored == slices * 2 * 32 * 32 * 2
    assert not list(tiny.folder.glob("shard-*/cases.json"))


def test_who_they_are_is_kept(tiny):
    assert [(case.case, case.patient, case.split) for case in tiny.cases] == [
        (f"case-{name}", name, split) for name, split in PEOPLE.items()
    ]
    assert [case.patient for case in tiny.select("validation", "hold-out")] == ["eve", "fay"]
    assert all(case.people == (case.patient,) and case.attributes == {"site": "A"} for case in tiny.cases)


def test_a_synthetic_case_is_its_donors(tmp_path):
    store = make(tmp_path, entries({"s1": "synthetic"}, donors=("ann", "bob")))
    assert store.cases[0].people == ("ann", "bob")


def test_pixels_stay_on_disk_until_asked_for(tiny):
    images, labels = tiny.planes(tiny.cases[1])
    for array in (images, labels):
        assert isinstance(array, np.memmap) and not array.flags.writeable
        assert np.shares_memory(array, tiny._shard(tiny.cases[1].shard)[0 if array is images else 1])


def test_the_same_image_has_the_same_content_under_another_name_and_label(tmp_path):
    listed = entries({"a": "train", "b": "train", "c": "train"})
    listed[1] = dataclasses.replace(listed[1], load=lambda: dataclasses.replace(volume(0), label=volume(1).label))
    cases = make(tmp_path, listed).cases
    assert cases[0].content == cases[1].content != cases[2].content
    assert cases[0].content == content_of(volume(0), CHANNELS)


def test_killed_and_continued_equals_uninterrupted_byte_for_byte(tmp_path, python):
    code = """
import dataclasses, os, signal, time
os.environ["OMP_NUM_THREADS"] = "2"  # two workers
from pathlib import Path
import tiny_store
listed, stage = tiny_store.entries(), os.getpid()
listed[3] = dataclasses.replace(listed[3], load=lambda: [os.kill(stage, signal.SIGKILL), time.sleep(600)])
tiny_store.make(Path("a"), listed)
"""
    assert python(code).wait(60) == -signal.SIGKILL
    assert not (tmp_path / "a" / "store").exists()
    finished = next((tmp_path / "a" / "scratch").rglob("shard-000/images.f16")).stat().st_ino
    listed = entries()
    for number in (0, 1):  # of the finished shard: not read again
        listed[number] = dataclasses.replace(listed[number], load=lambda: pytest.fail("prepared twice"))
    continued = make(tmp_path / "a", listed)
    assert (continued.folder / "shard-000" / "images.f16").stat().st_ino == finished
    assert digest(continued.folder) == digest(make(tmp_path / "b").folder)


def test_a_case_that_cannot_be_prepared_is_named(tmp_path):
    listed = entries({"a": "train", "b": "train"})
    listed[1] = dataclasses.replace(listed[1], load=lambda: dataclasses.replace(volume(1), images={"t1": 0}))
    with pytest.raises(CohortError, match=r"b\.nii: channels \['flair'\] are missing"):
        make(tmp_path, listed)
    listed[1] = dataclasses.replace(listed[1], load=lambda: dataclasses.replace(volume(1), label=None))
    with pytest.raises(CohortError, match=r"b\.nii: no label"):
        make(tmp_path / "other", listed)


def test_a_missing_or_incomplete_store_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="dvc repro"):
        Store.open(tmp_path / "store")
    folder = make(tmp_path).folder
    (folder / "shard-001" / "truth.z").unlink()
    with pytest.raises(ArtefactError, match="shard-001 is missing"):
        Store.open(folder)
