import gzip

import nibabel as nib
import numpy as np
import pytest
import tiny_release
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from synthgate.registry.bundle import Bundle
from synthgate.serving.answers import Model, answer, answer_files, choose, like
from synthgate.serving.intake import Refused

MOST = 10_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    release = tiny_release.write(tmp_path_factory.mktemp("tiny") / "releases" / "brain")
    return Model(Bundle.load(release), ("brain-segmenter@v1.2.0", "brain-segmenter@v1.0.0"))


def test_the_label_is_the_librarys(model):
    label = nib.Nifti1Image.from_bytes(gzip.decompress(answer(model, tiny_release.files(), MOST).nifti()))
    assert np.array_equal(np.asarray(label.dataobj), model.bundle.segment(tiny_release.volume()))
    assert label.get_data_dtype() == np.uint8
    assert np.allclose(label.affine, tiny_release.affine(), atol=1e-5)


def test_same_request_same_bytes(model):
    first, second = (answer(model, tiny_release.files(), MOST).nifti() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("axes", ["LPS", "ASR", "SLA", "PIR", "IAL"])
def test_flipped_and_permuted_axes_change_nothing(model, axes):
    """Any order of the axes gives the same answer at the same place in the head."""
    turned = {}
    for name, image in tiny_release.images().items():
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))
        turned[name] = nib.Nifti1Image.from_bytes(image.as_reoriented(turn).to_bytes())
    plain = answer(model, tiny_release.files(), MOST).label
    label = answer(model, tiny_release.files(turned), MOST).label

    assert "".join(nib.aff2axcodes(label.affine)) == axes
    assert label.shape == turned["t1"].shape and np.array_equal(label.affine, turned["t1"].affine)
    assert np.array_equal(np.asarray(label.dataobj), apply_orientation(np.asarray(plain.dataobj), turn))
    assert np.allclose(label.affine, plain.affine @ inv_ornt_aff(turn, plain.shape), atol=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_geometry_is_kept_and_nothing_else(kind):
    header = kind.header_class()
    header.set_xyzt_units("mm", "sec")
    image = kind(np.zeros((3, 4, 5), np.float32), np.diag([-2.0, 1.5, 5, 1]), header)
    image.set_qform(np.diag([-2.0, 1.5, 5, 1]), code=1)
    image.set_sform(tiny_release.affine(), code=4)
    image.header["descrip"], image.header["intent_name"] = b"Jane Doe", b"1970-01-01"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    image = kind.from_bytes(image.to_bytes())

    label = kind.from_bytes(like(image, np.ones((3, 4, 5), np.uint8), "ours").to_bytes())

    for get in ("get_qform", "get_sform"):
        ours, theirs = getattr(label, get)(coded=True), getattr(image, get)(coded=True)
        assert np.allclose(ours[0], theirs[0], atol=1e-6) and ours[1] == theirs[1]
    assert np.array_equal(label.affine, image.affine)
    assert label.header.get_zooms() == image.header.get_zooms()
    assert label.header.get_xyzt_units()[0] == "mm"
    assert b"Jane" not in label.to_bytes() and b"1970" not in label.to_bytes()
    assert np.asarray(label.dataobj).max() == 1


def test_json(model):
    done = answer(model, tiny_release.files(), MOST)
    told, label = done.json(), model.bundle.segment(tiny_release.volume())
    voxel_ml = 2.0 * 1.5 * 5.0 / 1000
    for region, values in tiny_release.REGIONS.items():
        count = sum(int((label == value).sum()) for value in values)
        assert told["regions"][region]["voxels"] == count > 0
        assert told["regions"][region]["ml"] == pytest.approx(count * voxel_ml, abs=1e-3)
    assert told["model"] == {"name": "brain-segmenter", "version": "v1.2.0"}
    assert told["manifest"] == model.bundle.manifest_id and told["notice"] == "research use only"


def test_no_millilitres_without_a_voxel_size(model):
    files = {name: nib.Nifti1Image(i.dataobj, np.eye(4)).to_bytes() for name, i in tiny_release.images().items()}
    told = answer(model, files, MOST).json()
    assert all(size["ml"] is None and size["voxels"] > 0 for size in told["regions"].values())


def test_unregistered(model):
    assert Model(model.bundle).describe()["version"] == "unregistered"
    assert model.describe()["tags"] == ["brain-segmenter@v1.2.0", "brain-segmenter@v1.0.0"]


def test_nothing_but_background_is_refused(model):
    blank = {name: nib.Nifti1Image(np.zeros(i.shape, np.int16), i.affine) for name, i in tiny_release.images().items()}
    with pytest.raises(Refused, match="no head"):
        answer(model, tiny_release.files(blank), MOST)


def test_from_files(model, tmp_path):
    paths = {name: tmp_path / f"{name}.nii.gz" for name in tiny_release.CHANNELS}
    for name, content in tiny_release.files().items():
        paths[name].write_bytes(gzip.compress(content))
    assert answer_files(model, paths, MOST).nifti() == answer(model, tiny_release.files(), MOST).nifti()
    with pytest.raises(Refused, match=r"none\.nii \(t1\): No such file"):
        answer_files(model, paths | {"t1": tmp_path / "none.nii"}, MOST)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", "application/gzip"),
        ("", "application/gzip"),
        ("application/octet-stream", "application/octet-stream"),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/*", "application/gzip"),
        ("application/json, */*;q=0.1", "application/json"),
        ("application/json;q=0.2, application/gzip;q=0.9", "application/gzip"),
        ("application/gzip;q=0, */*", "application/octet-stream"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=x", None),
        (";;,", None),
    ],
)
def test_accept(accept, chosen):
    assert choose(accept) == chosen
