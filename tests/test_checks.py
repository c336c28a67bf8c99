import nibabel
import numpy as np
import pytest
import tifffile
from tiny_cohort import SHAPE, brats, cohort, lgg, rewrite, save, volume

from synthgate.cohort import folder, headers
from synthgate.cohort.case import Case, Source
from synthgate.cohort.checks import check, copies, examine
from synthgate.cohort.readers import read


def told(path, layout="cohort", grade="fault"):
    return [f"{p.where}: {p.what}; {p.remedy}" for p in check(read(path, layout)) if p.grade == grade]


def test_a_good_cohort_has_no_problems(tmp_path):
    found = examine(read(cohort(tmp_path, 3), "cohort"))
    assert not found.problems and found.bearing == {"case-00", "case-01", "case-02"} and found.values == {1, 2, 4}
    assert found.boxes == [(6, 6)] * 3


def _nan(v):
    v = v.astype(np.float32)
    v[3, 3, 3] = np.nan
    return v


BAD = {
    "missing channel": (lambda c: (c / "t1.nii.gz").unlink(), "t1.nii.gz: the file is missing"),
    "missing label": (lambda c: (c / "label.nii.gz").unlink(), "the label is missing"),
    "shapes": (lambda c: rewrite(c / "t2.nii.gz", lambda v: v[:-1]), "shape [7, 8, 6] differs"),
    "affines": (lambda c: save(c / "t2.nii.gz", volume(0).images["t2"], np.eye(4)), "differs from t1's"),
    "labels": (lambda c: rewrite(c / "label.nii.gz", lambda v: v + 3 * (v == 4)), "got also [7]"),
    "nan": (lambda c: rewrite(c / "flair.nii.gz", _nan), "channel flair has 1 voxels that are NaN"),
    "truncated": (lambda c: _cut(c / "t1ce.nii.gz"), "t1ce.nii.gz: not a whole NIfTI file"),
    "empty folder": (lambda c: [p.unlink() for p in c.iterdir()], "t1.nii.gz: the file is missing"),
    "no head": (lambda c: [rewrite(p, lambda v: v * 0) for p in c.glob("[tf]*")], "holds no head"),
    "four axes": (lambda c: save(c / "t2.nii.gz", np.zeros((*SHAPE, 2), np.float32)), "expected a grid [x, y, z]"),
}


def _cut(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_a_fault_that_names_case_and_remedy(tmp_path, kind):
    cohort(tmp_path, 3)
    spoil, expected = BAD[kind]
    spoil(tmp_path / "case-01")
    faults = told(tmp_path)
    assert any(expected in fault for fault in faults) and all("case-01" in fault for fault in faults)


def test_everything_is_told_at_once_and_faults_come_first(tmp_path):
    cohort(tmp_path, 9)
    for number, kind in enumerate(BAD):
        if kind not in ("empty folder", "no head"):
            BAD[kind][0](tmp_path / f"case-{number:02d}")
    problems = check(read(tmp_path, "cohort"))
    assert {p.where.split("case-")[1][:2] for p in problems if p.grade == "fault"} >= {f"{i:02d}" for i in range(7)}
    grades = [p.grade for p in problems]
    assert grades == sorted(grades, key=("fault", "flag", "note").index)


def test_the_same_image_under_two_names(tmp_path):
    cohort(tmp_path, 3)
    # other header, other type, axes flipped: still the same image
    image = nibabel.load(tmp_path / "case-00/t1.nii.gz")
    values = np.asanyarray(image.dataobj)[::-1].astype(np.float32)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    for name in ("t1ce", "t2", "flair", "label"):
        other = nibabel.load(tmp_path / f"case-02/{name}.nii.gz")
        save(tmp_path / f"case-02/{name}.nii.gz", np.asanyarray(other.dataobj)[::-1], image.affine @ flip)
    save(tmp_path / "case-02/t1.nii.gz", values, image.affine @ flip)
    assert "case-02: the same image under two names: t1 of case-02 equal those of case-00" in told(tmp_path)[0]


def test_the_same_image_within_one_patient_is_only_flagged(tmp_path):
    cohort(tmp_path, 3)
    rows = folder.read_table(tmp_path)
    rows[2]["patient_id"] = rows[0]["patient_id"]
    folder.write_table(tmp_path, rows)
    (tmp_path / "case-02/t1.nii.gz").write_bytes((tmp_path / "case-00/t1.nii.gz").read_bytes())
    assert not told(tmp_path) and "two names" in told(tmp_path, grade="flag")[0]
    assert "P00: the patient has 2 cases: case-00, case-02" in told(tmp_path, grade="note")[0]


def test_the_same_label_with_a_lesion_is_flagged(tmp_path):
    cohort(tmp_path, 2)
    (tmp_path / "case-01/label.nii.gz").write_bytes((tmp_path / "case-00/label.nii.gz").read_bytes())
    assert not told(tmp_path) and "label of case-01" in told(tmp_path, grade="flag")[0]


def test_duplicate_case_ids(tmp_path):
    case = Case("a", "p", "here", lambda: volume(0))
    other = Case("a", "q", "there", lambda: volume(1))
    problems = check(Source([case, other], [], ("t1",), (1, 2, 4)))
    assert [(p.grade, p.where) for p in problems if "occurs twice" in p.what] == [("fault", "there")]


def test_constant_channels_and_empty_labels(tmp_path):
    cohort(tmp_path, 2)
    rewrite(tmp_path / "case-00/t2.nii.gz", lambda v: v * 0 + 5)
    rewrite(tmp_path / "case-01/label.nii.gz", lambda v: v * 0)
    assert not told(tmp_path)
    assert "channel t2 is 5 everywhere" in told(tmp_path, grade="flag")[0]
    assert "the label is empty" in told(tmp_path, grade="note")[0]
    found = examine(read(tmp_path, "cohort"))
    assert found.flags == {"case-00": ["channel_constant:t2"]} and found.bearing == {"case-00"}


@pytest.mark.parametrize("change", ["none", "scaled", "gamma", "noise"])
def test_a_channel_that_copies_flair_is_found(tmp_path, change):
    lgg(tmp_path, 2)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "TCGA_XY_A001_19990101").glob("*[0-9].tif"):
        if "mask" not in path.name:
            pixels = tifffile.imread(path).astype(float)
            flair = pixels[..., 1]
            other = {"none": flair, "scaled": flair * 0.8 + 3, "gamma": 255 * (flair / 255) ** 0.7, "noise": flair}[
                change
            ]
            pixels[..., 2] = other + (rng.integers(-2, 3, flair.shape) if change == "noise" else 0)
            tifffile.imwrite(path, pixels.clip(0, 255).astype(np.uint8), photometric="rgb", metadata=None)
    found = examine(read(tmp_path, "lgg"))
    assert found.flags == {"TCGA_XY_A001": ["channel_copy:t1ce"]}
    assert [p.what for p in found.problems if "channel_copy" in p.what] == [
        "channel t1ce is a copy of flair (channel_copy)"
    ]


def test_channels_that_only_resemble_are_no_copies():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(10, 10, 10))
    near = base + rng.normal(scale=0.3, size=base.shape)  # correlation 0.96
    assert copies([base, near, base * 2, np.zeros_like(base)], np.ones(base.shape, bool)) == [(2, 0)]


def test_identifying_headers_names_and_columns(tmp_path):
    cohort(tmp_path, 3)
    images = volume(0).images
    save(tmp_path / "case-00/t1.nii.gz", images["t1"], descrip=b"Doe^Jane scanned by M.", db_name=b"FSL5.0")
    image = nibabel.load(tmp_path / "case-01/t1.nii.gz")
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"born in May"))
    nibabel.save(
        nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), tmp_path / "case-01/t1.nii.gz"
    )
    (tmp_path / "case-02/1999-05-06.txt").write_text("")
    rows = folder.read_table(tmp_path)
    folder.write_table(tmp_path, [row | {"birth_date": "x"} for row in rows])
    flags = " ".join(told(tmp_path, grade="flag"))
    for part in ("header field descrip", "header field extension 6", "looks like a date", "birth_date"):
        assert part in flags
    assert "db_name" not in flags and "Doe" not in flags


def test_identifying_tiff_tags_and_dates_in_folder_names(tmp_path):
    lgg(tmp_path, 2)
    path = tmp_path / "TCGA_QQ_A000_19990101/TCGA_QQ_A000_19990101_1.tif"
    tifffile.imwrite(path, tifffile.imread(path), photometric="rgb", description="a text", metadata=None)
    flags = " ".join(told(tmp_path, "lgg", "flag"))
    assert "ImageDescription, in 1 places" in flags and "a date in 2 places" in flags


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TCGA_CS_4941_19960909", "a date"),
        ("W39_1998.09.19_Segm.nii", "a date"),
        ("Meier_Hans_t1.nii.gz", "a person's name"),
        ("DOE^JANE", "a person's name"),
        ("BraTS20_Training_001_flair.nii.gz", ""),
        ("Brats18_CBICA_AAB_1", ""),
        ("BraTS-GLI-00000-000-t1n.nii.gz", ""),
        ("t1ce.nii.gz", ""),
    ],
)
def test_what_names_tell(name, kind):
    assert headers.in_name(name) == kind


def test_slices_without_brain_are_noted(tmp_path):
    brats(tmp_path, 2021, 1)
    for path in (tmp_path / "BraTS2021_00000").iterdir():
        rewrite(path, lambda v: v * (np.arange(6) > 1).astype(v.dtype))
    assert "2 of 6 slices hold no brain" in told(tmp_path, "brats", "note")[0]
