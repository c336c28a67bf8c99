"""What the road releases: registered, fetched by its version, served; and what may never leave with it."""

import gzip
import subprocess
import sys

import httpx
import nibabel as nib
import numpy as np
import pytest
from road import clone_of_working_tree, commit, copy, dvc, environment, run, synthgate
from test_service import form, running
from tiny_cohort import lgg

from synthgate.files import digest, remove
from synthgate.registry import bundle
from synthgate.serving.service import SERVICE

pytestmark = pytest.mark.road
CHANNELS = ("t1", "t1ce", "t2", "flair")


@pytest.fixture(scope="module")
def registered(road, tmp_path_factory):
    """A copy of the road whose release is v1.0.0 and lies in a remote of the site."""
    home = tmp_path_factory.mktemp("served")
    clone = copy(road, home / "clone")
    # DVC reads the remote from the commit that is asked for, so it stands there before the version is tagged
    dvc(clone, "remote", "add", "-q", "-d", "site", str(home / "site"))
    commit(clone, "the site's remote")
    run(clone, "gto", "register", "brain-segmenter", "--version", "v1.0.0")
    dvc(clone, "push", "releases/brain")
    return clone


@pytest.fixture(scope="module")
def client(registered, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("cwd")
    served = {**environment(registered), "SYNTHGATE_RELEASE": str(registered / "releases/brain")}
    with running(SERVICE, cwd, **served) as (client, _):
        yield client


@pytest.fixture(scope="module")
def patient(patients, registered, tmp_path_factory):
    """A patient's images, and the label that `synthgate segment` gives: of those tried, the first that is not empty."""
    out = tmp_path_factory.mktemp("segmented") / "label.nii.gz"
    for folder in sorted(path for path in patients.iterdir() if path.is_dir()):
        images = {name: nib.load(folder / f"{name}.nii.gz") for name in CHANNELS}
        given = [f"{name}={folder / name}.nii.gz" for name in CHANNELS]
        synthgate(registered, "segment", *given, "--out", str(out))
        if np.asarray(nib.load(out).dataobj).any():
            return images, nib.load(out)
    raise AssertionError("every label is empty; train longer")


def test_the_registered_version_is_fetched_by_its_name(registered, tmp_path):
    remove(registered / ".dvc/cache")  # so that it must come from the site's remote
    dvc(registered, "artifacts", "get", ".", "brain-segmenter", "--rev", "v1.0.0", "-o", str(tmp_path / "got"))
    assert digest(tmp_path / "got") == digest(registered / "releases/brain")


def test_models_names_version_and_manifest(client, registered):
    (told,) = client.get("/v1/models").json()["models"]
    _, manifest = bundle.verify(registered / "releases/brain")
    assert told["name"] == "brain-segmenter" and told["version"] == "v1.0.0"
    assert told["manifest"] == bundle.manifest_id(manifest)
    assert told["channels"] == list(CHANNELS) and list(told["regions"]) == ["WT", "TC", "ET"]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA", "IPL"])
def test_the_endpoint_answers_as_the_library_in_the_inputs_geometry(client: httpx.Client, patient, axes):
    images, label = patient
    given = nib.orientations.io_orientation(label.affine)
    turn = nib.orientations.ornt_transform(given, nib.orientations.axcodes2ornt(axes))
    sent = {name: image.as_reoriented(turn) for name, image in images.items()}
    answer = client.post("/v1/segment", **form({name: gzip.compress(i.to_bytes()) for name, i in sent.items()}))
    assert answer.status_code == 200, answer.text
    got = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    np.testing.assert_array_equal(got.affine, sent["t1"].affine)
    expected = nib.orientations.apply_orientation(np.asarray(label.dataobj), turn)
    np.testing.assert_array_equal(np.asarray(got.dataobj), expected)
    assert np.asarray(got.dataobj).any()
    assert answer.headers["x-synthgate-version"] == "v1.0.0"


def test_after_adopting_other_data_a_push_cannot_reach_the_phantom_remote(tmp_path):
    """With the repository as it is: its configuration, its pinned data, its remote."""
    clone = clone_of_working_tree(tmp_path / "clone", remotes=True)
    dvc(clone, "pull", "data.dvc")
    before = digest(clone / "remotes")
    synthgate(clone, "adopt", str(lgg(tmp_path / "lgg")), "--layout", "lgg", "--study", "brain")
    assert "remote" not in (clone / "data.dvc").read_text()
    pushed = subprocess.run(
        [sys.executable, "-m", "dvc", "push"], cwd=clone, env=environment(clone), capture_output=True, text=True
    )
    assert pushed.returncode != 0 and "remote" in pushed.stderr
    assert digest(clone / "remotes") == before
    assert run(clone, "git", "status", "--porcelain", "remotes") == ""
    run(clone, sys.executable, "-m", "synthgate.cohort.guard")
