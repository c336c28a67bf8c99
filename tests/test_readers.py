import shutil

import numpy as np
import pytest
import tifffile
from tiny_cohort import AFFINE, CHANNELS, YEARS, brats, cohort, lgg, lgg_patient, rewrite, save, volume

from synthgate.cohort import folder
from synthgate.cohort.nifti import BrokenCase
from synthgate.cohort.readers import LAYOUTS, read
from synthgate.errors import CohortError


def told(source, grade="fault"):
    return [f"{p.where}: {p.what}" for p in source.problems if p.grade == grade]


def test_unknown_layouts_and_places_are_refused(tmp_path):
    with pytest.raises(CohortError, match="the layouts are cohort, batch, brats, lgg"):
        read(tmp_path, "bids")
    for layout in LAYOUTS:
        with pytest.raises(CohortError, match="expected a folder, there is none"):
            read(tmp_path / "nowhere", layout)


def test_cohort_folder(tmp_path):
    source = read(cohort(tmp_path, 3), "cohort")
    assert [c.case_id for c in source.cases] == ["case-00", "case-01", "case-02"] and not source.problems
    assert source.channels == CHANNELS and source.labels == (1, 2, 4)
    assert source.cases[1].attributes == {"site": "B", "age": "50"} and source.cases[1].patient_id == "P01"


def test_cohort_folder_keeps_synthetic_columns(tmp_path):
    cohort(tmp_path, 1)
    row = {"case_id": "case-00", "patient_id": "s0", "generator": "g", "seed": "3", "donors": "ab;cd"}
    folder.write_table(tmp_path, [row])
    assert read(tmp_path, "cohort").cases[0].attributes == {"generator": "g", "seed": "3", "donors": "ab;cd"}


def test_cohort_folder_problems(tmp_path):
    cohort(tmp_path, 3)
    (tmp_path / "extra").mkdir()
    (tmp_path / "case-00/readme.txt").write_text("")
    rows = folder.read_table(tmp_path)
    folder.write_table(
        tmp_path, [*rows, rows[0], {"case_id": "gone", "patient_id": "x"}, {"case_id": "../x", "patient_id": "y"}]
    )
    source = read(tmp_path, "cohort")
    faults = " ".join(told(source))
    assert "case-00 is listed twice" in faults and "gone is listed" in faults and "cannot name a folder" in faults
    assert "extra" in told(source, "flag")[0] and "readme.txt" in told(source, "note")[0]
    assert len(source.cases) == 3


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("year", YEARS)
def test_a_brats_copy_is_the_same_case(tmp_path, year, suffix):
    source = read(brats(tmp_path, year, 2, suffix), "brats")
    assert [c.case_id for c in source.cases] == [YEARS[year].format(i).split("/")[-1] for i in range(2)]
    assert not source.problems and source.channels == CHANNELS and source.labels == (1, 2, 4)
    for seed, case in enumerate(source.cases):
        given, got = volume(seed), case.load()
        assert list(got.images) == list(CHANNELS) and got.spacing_known
        for channel in CHANNELS:
            np.testing.assert_array_equal(got.images[channel], given.images[channel])
        np.testing.assert_array_equal(got.label, given.label)
        np.testing.assert_array_equal(got.affine, AFFINE)


def test_brats_time_points_are_cases_of_one_patient(tmp_path):
    brats(tmp_path, 2023, 1)
    old = tmp_path / "BraTS-GLI-00000-000"
    for path in sorted(old.iterdir()):
        new = tmp_path / "BraTS-GLI-00000-001" / path.name.replace("-000-", "-001-")
        new.parent.mkdir(exist_ok=True)
        new.write_bytes(path.read_bytes())
    source = read(tmp_path, "brats")
    assert [c.patient_id for c in source.cases] == ["BraTS-GLI-00000"] * 2 and not told(source)


def test_brats_patient_in_two_folders(tmp_path):
    brats(tmp_path, 2018, 1)
    (tmp_path / "LGG").mkdir()
    (tmp_path / "HGG/Brats18_CBICA_A00_1").rename(tmp_path / "LGG/Brats18_CBICA_A00_1")
    brats(tmp_path, 2018, 1)
    assert "patient Brats18_CBICA_A00_1 is in 2 folders: HGG/" in told(read(tmp_path, "brats"))[0]


def test_brats_attributes_from_names_and_tables(tmp_path):
    brats(tmp_path, 2019, 1)
    brats(tmp_path, 2020, 1)
    (tmp_path / "name_mapping.csv").write_text(
        "Grade,BraTS_2019_subject_ID,BraTS_2020_subject_ID\nHGG,BraTS19_CBICA_AAB_1,BraTS20_Training_000\n"
    )
    (tmp_path / "survival_info.csv").write_text("Brats20ID,Age,Survival_days\nBraTS20_Training_000,60.46,289\n")
    by_name = {c.case_id: c.attributes for c in read(tmp_path, "brats").cases}
    assert by_name["BraTS20_Training_000"] == {"site": "CBICA", "age": "60.46", "grade": "HGG"}
    assert by_name["BraTS19_TCIA01_000_1"] == {"site": "TCIA01", "grade": "LGG"}


def test_brats_label_of_2020_with_another_name(tmp_path):
    brats(tmp_path, 2020, 1)
    path = tmp_path / "BraTS20_Training_000"
    (path / "BraTS20_Training_000_seg.nii.gz").rename(path / "W39_1998.09.19_Segm.nii.gz")
    source = read(tmp_path, "brats")
    assert "W39" in told(source, "flag")[0]
    np.testing.assert_array_equal(source.cases[0].load().label, volume(0).label)


def test_brats_missing_and_foreign_files(tmp_path):
    brats(tmp_path, 2021, 2)
    (tmp_path / "BraTS2021_00000/BraTS2021_00000_t1ce.nii.gz").unlink()
    (tmp_path / "BraTS2021_00001/BraTS2021_00001_t2.nii.gz").rename(
        tmp_path / "BraTS2021_00001/BraTS2021_00009_t2.nii.gz"
    )
    source = read(tmp_path, "brats")
    assert "BraTS2021_00009_t2.nii.gz of another case" in told(source)[0]
    with pytest.raises(BrokenCase, match=r"00000_t1ce\.nii\.gz: the file is missing"):
        source.cases[0].load()


def test_brats_2023_refuses_labels_of_later_years(tmp_path):
    brats(tmp_path, 2023, 1)
    rewrite(tmp_path / "BraTS-GLI-00000-000/BraTS-GLI-00000-000-seg.nii.gz", lambda v: v + (v == 3))
    with pytest.raises(BrokenCase, match="expected labels 1, 2, 3"):
        read(tmp_path, "brats").cases[0].load()


@pytest.mark.parametrize("layout", ["brats", "lgg"])
def test_an_empty_folder_is_a_fault(tmp_path, layout):
    assert "no folder here" in told(read(tmp_path, layout))[0]


def test_images_in_folders_of_other_names_are_not_lost_in_silence(tmp_path):
    brats(tmp_path, 2021, 1)
    save(tmp_path / "someone/flair.nii.gz", volume(0).images["flair"])
    assert "without a BraTS name" in told(read(tmp_path, "brats"), "flag")[0]


def test_lgg_stacks_slices_in_numeric_order_with_axes_named_right(tmp_path):
    source = read(lgg(tmp_path, 2), "lgg")
    assert [c.case_id for c in source.cases] == ["TCGA_QQ_A000", "TCGA_XY_A001"] and source.labels == (1,)
    got = source.cases[0].load()
    assert list(got.images) == ["t1", "t1ce", "flair"] and got.images["t1"].shape == (16, 16, 12)
    np.testing.assert_array_equal(got.images["flair"][0, 0], np.arange(1, 13))
    stored = tifffile.imread(tmp_path / "TCGA_QQ_A000_19990101/TCGA_QQ_A000_19990101_7.tif")
    for place, channel in enumerate(("t1", "flair", "t1ce")):
        np.testing.assert_array_equal(got.images[channel][:, :, 6], stored[:, :, place].T)
    assert got.label[5, 4, 6] == 1 and got.label[:, :, 6].sum() == 8 and not got.spacing_known
    # radiological: columns to the left, rows to the back, slices upwards
    np.testing.assert_array_equal(got.affine, np.diag([-1.0, -1, 1, 1]))


def test_lgg_attributes_and_notes(tmp_path):
    source = read(lgg(tmp_path, 2), "lgg")
    assert source.cases[0].attributes == {"site": "QQ", "sex": "F", "race": "white", "grade": "2", "age": "40"}
    assert source.cases[1].attributes["sex"] == "M" and "NC-SA" in source.terms[0]
    assert "2 of the 4 patients listed have no folder: TCGA_QQ_A002, TCGA_XY_A003" in told(source, "note")[0]
    (tmp_path / "data.csv").unlink()
    assert read(tmp_path, "lgg").cases[0].attributes == {"site": "QQ"}


def test_lgg_at_full_size_and_one_level_down(tmp_path):
    source = read(lgg(tmp_path / "kaggle_3m", 1, slices=2, side=256).parent, "lgg")
    assert source.cases[0].load().label.shape == (256, 256, 2)


def test_lgg_patient_in_two_folders(tmp_path):
    lgg(tmp_path, 1)
    lgg_patient(tmp_path / "TCGA_QQ_A000_20010505", 8)
    assert "patient TCGA_QQ_A000 is in 2 folders" in told(read(tmp_path, "lgg"))[0]


def test_lgg_broken_slices_are_all_told(tmp_path):
    lgg(tmp_path, 1)
    stem = tmp_path / "TCGA_QQ_A000_19990101/TCGA_QQ_A000_19990101"
    stem.with_name(stem.name + "_2_mask.tif").unlink()
    path = stem.with_name(stem.name + "_3.tif")
    path.write_bytes(path.read_bytes()[:300])
    tifffile.imwrite(stem.with_name(stem.name + "_4.tif"), np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(stem.with_name(stem.name + "_5_mask.tif"), np.full((16, 16), 128, np.uint8))
    tifffile.imwrite(stem.with_name(stem.name + "_6.tif"), np.zeros((16, 16), np.uint8))
    with pytest.raises(BrokenCase) as error:
        read(tmp_path, "lgg").cases[0].load()
    text = str(error.value)
    assert len(error.value.problems) == 5
    for part in ("slice 2 has no mask", "_3.tif: not a whole TIFF", "shape [8, 8]", "[128]", "expected pixels"):
        assert part in text


def test_lgg_gaps_and_foreign_slices(tmp_path):
    lgg(tmp_path, 1)
    stem = tmp_path / "TCGA_QQ_A000_19990101/TCGA_QQ_A000_19990101"
    for kind in ("", "_mask"):
        stem.with_name(f"{stem.name}_5{kind}.tif").unlink()
    stem.with_name(f"{stem.name}_9.tif").rename(stem.with_name("TCGA_ZZ_0000_20000101_9.tif"))
    source = read(tmp_path, "lgg")
    assert "slices 5 are missing" in told(source, "flag")[0] and "of another patient" in told(source)[0]


def test_an_image_that_few_cases_have_is_named_where_it_lies_and_left_out(tmp_path):
    source = cohort(tmp_path, 3)
    first = sorted(p for p in source.iterdir() if p.is_dir())[0]
    shutil.copy(first / "t1.nii.gz", first / "t1_backup.nii.gz")
    found = read(source, "cohort")
    assert "t1_backup" not in found.channels
    assert [p.where for p in found.problems if "most cases lack" in p.what] == [str(first / "t1_backup")]


@pytest.mark.parametrize("facts", ['{"labels": ["tumour"]}', '{"labels": 4}', '{"terms": null}', '{"terms": [1]}'])
def test_facts_of_another_type_are_refused(tmp_path, facts):
    source = cohort(tmp_path, 3)
    (source / "source.json").write_text(facts)
    with pytest.raises(CohortError, match=r"source\.json: (labels|terms): expected a list"):
        read(source, "cohort")
