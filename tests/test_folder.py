import gzip

import nibabel
import numpy as np
import pytest
from tiny_cohort import AFFINE, cohort, rewrite, save, volume

from synthgate.cohort import folder, nifti
from synthgate.cohort.case import Volume
from synthgate.cohort.nifti import BrokenCase
from synthgate.errors import CohortError


def test_a_case_comes_back_as_it_was_written(tmp_path):
    given = volume(3)
    given.images["t1"][2, 2, 2] = 0.5  # one fraction keeps the channel in float32
    folder.write_case(tmp_path, "a", given)
    read = folder.load_case(tmp_path / "a", list(given.images))
    for channel, image in given.images.items():
        np.testing.assert_array_equal(read.images[channel], image)
        assert read.images[channel].dtype == np.float32
    np.testing.assert_array_equal(read.label, given.label)
    np.testing.assert_array_equal(read.affine, AFFINE)
    assert read.spacing_known
    assert nibabel.load(tmp_path / "a/t1.nii.gz").get_data_dtype() == np.float32
    assert nibabel.load(tmp_path / "a/t2.nii.gz").get_data_dtype() == np.int16


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        folder.write_case(tmp_path / name, "a", volume(1))
    files = sorted(p.name for p in (tmp_path / "one/a").iterdir())
    assert files == ["flair.nii.gz", "label.nii.gz", "t1.nii.gz", "t1ce.nii.gz", "t2.nii.gz"]
    assert all((tmp_path / "one/a" / f).read_bytes() == (tmp_path / "two/a" / f).read_bytes() for f in files)


def test_unknown_spacing_survives(tmp_path):
    given = volume(0, affine=np.diag([-1.0, -1, 1, 1]))
    folder.write_case(tmp_path, "a", Volume(given.images, None, given.affine, spacing_known=False))
    read = folder.load_case(tmp_path / "a", ["t1"])
    assert not read.spacing_known and read.label is None
    # a header without units whose voxels are not of size 1 does give a size
    save(tmp_path / "b/t1.nii.gz", given.images["t1"], AFFINE)
    assert folder.load_case(tmp_path / "b", ["t1"]).spacing_known


@pytest.mark.parametrize("cut", [1, 40, -200])
def test_a_truncated_file_is_one_clear_error(tmp_path, cut):
    folder.write_case(tmp_path, "a", volume(0))
    path = tmp_path / "a/t2.nii.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CohortError, match=r"t2\.nii\.gz: not a whole NIfTI file .*copy the file again"):
        folder.load_case(tmp_path / "a", ["t1", "t2"])


def test_a_file_that_is_no_nifti_and_a_missing_one_are_told_together(tmp_path):
    folder.write_case(tmp_path, "a", volume(0))
    (tmp_path / "a/t1.nii.gz").write_bytes(gzip.compress(b"no header here"))
    (tmp_path / "a/t2.nii.gz").unlink()
    with pytest.raises(BrokenCase) as error:
        folder.load_case(tmp_path / "a", ["t1", "t2", "flair"])
    assert [p.where.rsplit("/", 1)[1] for p in error.value.problems] == ["t1.nii.gz", "t2.nii.gz"]


def test_mixed_shapes_and_affines_are_refused(tmp_path):
    folder.write_case(tmp_path, "a", volume(0))
    rewrite(tmp_path / "a/t2.nii.gz", lambda v: v[:-1])
    save(tmp_path / "a/flair.nii.gz", volume(0).images["flair"], np.diag([1.0, 1, 1, 1]))
    with pytest.raises(BrokenCase) as error:
        folder.load_case(tmp_path / "a", ["t1", "t2", "flair"])
    assert "shape [7, 8, 6] differs from t1's [8, 8, 6]" in str(error.value)
    assert "affine" in str(error.value) and len(error.value.problems) == 2


@pytest.mark.parametrize("value", [-1, 300, 1.5])
def test_a_label_holds_whole_numbers_of_a_byte(tmp_path, value):
    folder.write_case(tmp_path, "a", volume(0))
    save(tmp_path / "a/label.nii.gz", np.full((8, 8, 6), value, np.float32))
    with pytest.raises(CohortError, match=r"label\.nii\.gz: a label holds whole numbers"):
        folder.load_case(tmp_path / "a", ["t1"])


def test_table_round_trip_keeps_order_and_columns(tmp_path):
    rows = [{"case_id": "b", "patient_id": "x", "donors": "p;q"}, {"case_id": "a", "patient_id": "y", "age": "3"}]
    folder.write_table(tmp_path, rows)
    assert (tmp_path / "cases.csv").read_text() == "case_id,patient_id,donors,age\nb,x,p;q,\na,y,,3\n"
    assert [r["case_id"] for r in folder.read_table(tmp_path)] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case,patient\n", "missing case_id, patient_id"),
        ("case_id,patient_id,age\na,b\n", "line 2"),
        ("case_id,patient_id\na,\n", "line 2"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, told):
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(CohortError, match=told):
        folder.read_table(tmp_path)


def test_no_table_and_no_folder(tmp_path):
    with pytest.raises(CohortError, match=r"no cases\.csv"):
        folder.read_table(tmp_path)
    with pytest.raises(CohortError, match="does not exist"):
        folder.read_table(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden"])
def test_a_case_id_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(CohortError, match="cannot name a folder"):
        folder.write_case(tmp_path, name, volume(0))


def test_a_failed_write_leaves_the_old_case(tmp_path):
    cohort(tmp_path, 1)
    bad = Volume({"t1": volume(0).images["t1"], "t2": None}, None, AFFINE)
    with pytest.raises(AttributeError):
        folder.write_case(tmp_path, "case-00", bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case-00", "cases.csv"]
    assert folder.load_case(tmp_path / "case-00", ["t1", "t2"]).label is not None


def test_a_file_in_place_of_the_folder_and_a_folder_in_place_of_the_table(tmp_path):
    (tmp_path / "cases.csv").write_text("case_id\na\n")
    with pytest.raises(CohortError, match=r"give the folder that holds cases\.csv"):
        folder.read_table(tmp_path / "cases.csv")
    (tmp_path / "other" / "cases.csv").mkdir(parents=True)
    with pytest.raises(CohortError, match="cannot be read"):
        folder.read_table(tmp_path / "other")


@pytest.mark.parametrize(("offset", "value"), [(123, 7), (111, 0x7F)])
def test_a_header_that_makes_no_sense_is_one_clear_error(tmp_path, offset, value):
    path = tmp_path / "a.nii.gz"
    nifti.write(path, np.zeros((4, 5, 6), np.int16), np.eye(4), True)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[offset] = value
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(CohortError, match=r"a\.nii\.gz: not a whole NIfTI file"):
        nifti.read(path)
