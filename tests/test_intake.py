import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import tiny_release

from synthgate.cohort import nifti
from synthgate.errors import IntakeError
from synthgate.serving.intake import Refused, check_channels, read_volume

CHANNELS = tiny_release.CHANNELS
MOST = 10_000_000


def read(files, most=MOST):
    return read_volume(files, CHANNELS, most)


def with_flair(change):
    """The files, with one thing changed in flair: a function of image, or of bytes."""
    images = tiny_release.images()
    return tiny_release.files() | {"flair": change(images["flair"])}


def patched(place, layout, *values):
    """The files, with the header of flair changed at a place."""
    return with_flair(lambda image: patch(image.to_bytes(), place, layout, *values))


def patch(content, place, layout, *values):
    content = bytearray(content)
    struct.pack_into("<" + layout, content, place, *values)
    return bytes(content)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda content: gzip.compress(content[:500]) + gzip.compress(content[500:])]
)
def test_reads_plain_and_compressed(pack):
    volume, first = read({name: pack(content) for name, content in tiny_release.files().items()})
    expected = tiny_release.volume()
    assert all(np.array_equal(volume.images[name], expected.images[name]) for name in CHANNELS)
    assert volume.images["t1"].dtype == np.float32
    assert np.allclose(volume.affine, expected.affine, atol=1e-5) and volume.spacing_known
    assert first.shape == tiny_release.SHAPE


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_reads_as_the_cohort_reader_does(tmp_path, kind, endianness, dtype):
    files = {}
    for name, image in tiny_release.images().items():
        header = kind.header_class(endianness=endianness)
        header.set_data_dtype(dtype)
        values = np.asarray(image.dataobj) / 7.0 if np.dtype(dtype).kind == "f" else np.asarray(image.dataobj)
        other = kind(values, image.affine, header)
        other.header.set_slope_inter(2.0, -1.0)
        files[name] = other.to_bytes()
        (tmp_path / f"{name}.nii").write_bytes(files[name])
    volume, _ = read(files)
    expected = nifti.assemble({name: tmp_path / f"{name}.nii" for name in CHANNELS}, None)
    assert all(np.array_equal(volume.images[name], expected.images[name]) for name in CHANNELS)
    assert np.array_equal(volume.affine, expected.affine) and volume.spacing_known == expected.spacing_known


def test_a_fourth_axis_of_one_is_no_fourth_axis():
    images = tiny_release.images()
    flair = nib.Nifti1Image(np.asarray(images["flair"].dataobj)[..., None], images["flair"].affine)
    volume, _ = read(tiny_release.files() | {"flair": flair.to_bytes()})
    assert volume.images["flair"].shape == tiny_release.SHAPE


def test_unknown_spacing():
    images = tiny_release.images()
    for image in images.values():
        image.header.set_xyzt_units("unknown")
    assert read(tiny_release.files(images))[0].spacing_known, "voxel sizes that are not all 1 were measured"
    plain = {name: nib.Nifti1Image(np.asarray(image.dataobj), np.eye(4)).to_bytes() for name, image in images.items()}
    assert not read(plain)[0].spacing_known


@pytest.mark.parametrize(
    ("given", "said"),
    [(["t1"], "missing.*flair"), (["t1", "flair", "t2"], "unknown.*t2"), (["t1", "t1", "flair"], "duplicate.*t1")],
)
def test_channels(given, said):
    with pytest.raises(Refused, match=said):
        check_channels(given, CHANNELS)


def _nan(image):
    values = np.asarray(image.dataobj, np.float32)
    values[3, 3, 3], values[4, 4, 4] = np.nan, np.inf
    return nib.Nifti1Image(values, image.affine).to_bytes()


BAD = {
    "empty": (with_flair(lambda _: b""), "empty"),
    "text": (with_flair(lambda _: b"not an image at all" * 50), "not a NIfTI"),
    "short": (with_flair(lambda _: b"\x5c\x01"), "not a NIfTI"),
    "zip": (with_flair(lambda _: b"PK\x03\x04" + bytes(1000)), "not a NIfTI"),
    "gzip of text": (with_flair(lambda _: gzip.compress(b"x" * 1000)), "not a NIfTI"),
    "gzip header alone": (with_flair(lambda _: b"\x1f\x8b"), "truncated"),
    "truncated gzip": (with_flair(lambda i: gzip.compress(i.to_bytes())[:-2000]), "truncated"),
    "without checksum": (with_flair(lambda i: gzip.compress(i.to_bytes())[:-4]), "truncated"),
    "wrong checksum": (with_flair(lambda i: gzip.compress(i.to_bytes())[:-8] + bytes(8)), "truncated or broken"),
    "truncated": (with_flair(lambda i: i.to_bytes()[:-1]), "ends before"),
    "too long": (with_flair(lambda i: i.to_bytes() + bytes(100_000)), "longer"),
    "pair": (patched(344, "4s", b"ni1\0"), "not a NIfTI"),
    "other shape": (with_flair(lambda i: i.slicer[:, :, 1:].to_bytes()), "shape"),
    "other affine": (with_flair(lambda i: nib.Nifti1Image(i.dataobj, np.diag([2, 2, 5, 1])).to_bytes()), "affine"),
    "NaN": (with_flair(_nan), "2 voxels"),
    "4-D": (with_flair(lambda i: nib.Nifti1Image(np.zeros((*i.shape, 2), np.int16), i.affine).to_bytes()), "shape"),
    "2-D": (with_flair(lambda i: nib.Nifti1Image(np.zeros((4, 4), np.int16), i.affine).to_bytes()), "shape"),
    "negative axis": (patched(40, "8h", 3, -24, 28, 10, 1, 1, 1, 1), "shape"),
    "no axes": (patched(40, "8h", 0, 0, 0, 0, 0, 0, 0, 0), "shape|cannot be read"),
    "ten axes": (patched(40, "8h", 10, 24, 28, 10, 1, 1, 1, 1), "cannot be read|shape"),
    "colour": (patched(70, "2h", 128, 24), "holds"),
    "complex": (patched(70, "2h", 32, 64), "holds"),
    "unknown type": (patched(70, "2h", 9999, 16), "cannot be read"),
    "offset inside the header": (patched(108, "f", 100.0), "ends|cannot be read"),
    "offset NaN": (patched(108, "f", float("nan")), "cannot be read"),
    "NaN affine": (patched(280, "f", float("nan")), "affine"),
    "no orientation": (patched(252, "2h", 0, 0), "affines"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_a_remedy(name):
    files, said = BAD[name]
    with pytest.raises(Refused, match=said) as caught:
        read(files)
    assert caught.value.status == 400 and isinstance(caught.value, IntakeError)
    assert set(caught.value.told) == {"error", "expected", "remedy"} and all(caught.value.told.values())


def test_all_channels_without_orientation():
    with pytest.raises(Refused, match="axes lie"):
        read({name: patch(content, 252, "2h", 0, 0) for name, content in tiny_release.files().items()})


def test_singular_affine():
    with pytest.raises(Refused, match="inverted"):
        read({name: patch(content, 296, "4f", 0, 0, 0, 0) for name, content in tiny_release.files().items()})


def test_lengths_in_other_units():
    images = tiny_release.images()
    for image in images.values():
        image.header.set_xyzt_units("micron")
    with pytest.raises(Refused, match="micron"):
        read(tiny_release.files(images))


def test_limit_counts_all_channels_as_float32():
    one = 4 * int(np.prod(tiny_release.SHAPE))  # int16 in the file, float32 in memory
    read(tiny_release.files(), 2 * one)
    with pytest.raises(Refused, match="flair") as caught:
        read(tiny_release.files(), 2 * one - 1)
    assert caught.value.status == 413


@pytest.mark.parametrize("axis", [32767, 3000])
def test_a_bomb_is_refused_by_its_header(axis):
    """The header promises 32767³ (3000³) voxels, in a few compressed bytes; nothing is unpacked for it."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"] = [3, axis, axis, axis, 1, 1, 1, 1]
    header["magic"], header["vox_offset"], header["sform_code"] = b"n+1", 352, 1
    bomb = gzip.compress(header.binaryblock + bytes(50_000_000))
    with pytest.raises(Refused) as caught:
        read({"t1": bomb, "flair": bomb})
    assert caught.value.status == 413


def test_a_bomb_behind_the_voxels_is_not_unpacked():
    files = with_flair(lambda i: gzip.compress(i.to_bytes() + bytes(50_000_000)))
    with pytest.raises(Refused, match="longer"):
        read(files)


def test_dimensions_beyond_64_bits():
    header = nib.Nifti2Header()
    header.set_data_dtype(np.int16)
    header["dim"] = [3, 2**62, 2**62, 4, 1, 1, 1, 1]
    header["magic"] = b"n+2"
    with pytest.raises(Refused) as caught:
        read(tiny_release.files() | {"t1": header.binaryblock + bytes(1000)})
    assert caught.value.status in (400, 413)


def test_random_damage_is_refused_or_read():
    """Whatever bytes of the header are damaged, the reader answers or refuses; it raises nothing else."""
    rng = np.random.default_rng(0)
    whole = tiny_release.files()["flair"]
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(0, 352, rng.integers(1, 6)):
            content[place] = rng.integers(256)
        try:
            read(tiny_release.files() | {"flair": bytes(content)})
        except Refused:
            refused += 1
    assert refused > 50
