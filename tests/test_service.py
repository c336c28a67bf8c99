"""The service, started for real: from the repository's code, and as a bento from another folder."""

import contextlib
import gzip
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
import tiny_release
import yaml

from synthgate.errors import ArtefactError, ParamsError
from synthgate.registry import versions
from synthgate.registry.bundle import Bundle
from synthgate.serving import service

ROOT = Path(__file__).parents[1]
LIMIT_MB = 1


@contextlib.contextmanager
def running(target, cwd, **environment):
    """Run `bentoml serve target`, yield a client and the log's path, and stop it with all it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"OMP_NUM_THREADS": "1", "BENTOML_HOME": str(cwd / "bentoml"), "PROMETHEUS_MULTIPROC_DIR": str(cwd / "prom")}
    command = [sys.executable, "-m", "bentoml", "serve", str(target), "--port", str(port)]
    log = cwd / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            command, cwd=cwd, env=os.environ | own | environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            deadline = time.monotonic() + 120
            while True:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/readyz").status_code == 200:
                        break
                time.sleep(0.3)
            yield client, log
    finally:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # the session that was started above, and nothing else


def form(files, accept=None):
    """The arguments of a request with one file per channel, named as a patient would be."""
    parts = [(name, ("/clinic/Jane Doe.nii.gz", content)) for name, content in files.items()]
    return {"files": parts, "headers": {"Accept": accept} if accept else {}}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return tiny_release.write(tmp_path_factory.mktemp("tiny") / "releases" / "brain")


@pytest.fixture(scope="module")
def served(release, tmp_path_factory):
    environment = {
        "SYNTHGATE_RELEASE": str(release),
        "SYNTHGATE_MAX_MB": str(LIMIT_MB),
        "PYTHONPATH": str(ROOT / "src"),
        "TMPDIR": str(tmp_path_factory.mktemp("temporary")),
    }
    with running(service.SERVICE, tmp_path_factory.mktemp("cwd"), **environment) as (client, log):
        yield client, log, Path(environment["TMPDIR"])


@pytest.fixture
def client(served):
    return served[0]


@pytest.mark.road
@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASR", "IPL"])
def test_the_label_file_is_the_librarys(client, release, axes):
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    images = {name: image.as_reoriented(turn) for name, image in tiny_release.images().items()}
    files = {name: gzip.compress(content) for name, content in tiny_release.files(images).items()}
    answer = client.post("/v1/segment", **form(files))

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["content-disposition"] == 'attachment; filename="brain-label.nii.gz"'
    bundle = Bundle.load(release)
    assert answer.headers["x-synthgate-manifest"] == bundle.manifest_id
    assert answer.headers["x-synthgate-version"] == "unregistered"
    assert answer.headers["x-synthgate-notice"] == "research use only"
    label = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    sent = nib.Nifti1Image.from_bytes(gzip.decompress(files["t1"]))
    assert np.array_equal(label.affine, sent.affine) and label.header.get_zooms() == sent.header.get_zooms()
    expected = nib.orientations.apply_orientation(bundle.segment(tiny_release.volume()), turn)
    assert np.array_equal(np.asarray(label.dataobj), expected)


@pytest.mark.road
def test_json(client, release):
    answer = client.post("/v1/segment", **form(tiny_release.files(), "application/json"))
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    told, bundle = answer.json(), Bundle.load(release)
    label = bundle.segment(tiny_release.volume())
    assert told["regions"]["WT"] == {
        "voxels": int((label > 0).sum()),
        "ml": pytest.approx(0.015 * int((label > 0).sum()), abs=1e-3),
    }
    assert told["model"] == {"name": "brain-segmenter", "version": "unregistered"}
    assert told["manifest"] == bundle.manifest_id and told["notice"] == "research use only"


@pytest.mark.road
def test_models(client, release):
    assert client.get("/v1/models").json() == {
        "models": [
            {
                "name": "brain-segmenter",
                "study": "brain",
                "version": "unregistered",
                "tags": [],
                "manifest": Bundle.load(release).manifest_id,
                "channels": ["t1", "flair"],
                "regions": {"WT": [1, 2], "TC": [1]},
                "notice": "research use only",
            }
        ]
    }


@pytest.mark.road
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_bentomls_own_pages(client, path):
    assert client.get(path).status_code == 200


def changed(**files):
    return form(tiny_release.files() | files)


def without(name):
    return form({key: content for key, content in tiny_release.files().items() if key != name})


FLAIR = tiny_release.files()["flair"]
NAN = nib.Nifti1Image(np.full(tiny_release.SHAPE, np.nan, np.float32), tiny_release.affine()).to_bytes()
BAD = {
    "missing channel": (without("flair"), 400, "missing channel 'flair'"),
    "unknown channel": (changed(t2=FLAIR), 400, "unknown channel 't2'"),
    "duplicate channel": (
        {"files": [(name, ("x", FLAIR)) for name in ("t1", "flair", "flair")]},
        400,
        "duplicate channel 'flair'",
    ),
    "text": ({"files": {"t1": ("x", FLAIR)}, "data": {"flair": "hello"}}, 400, "flair is text"),
    "empty file": (changed(flair=b""), 400, "flair is an empty file"),
    "not NIfTI": (changed(flair=b"x" * 5000), 400, "flair is not a NIfTI"),
    "truncated": (changed(flair=gzip.compress(FLAIR)[:-500]), 400, "truncated"),
    "NaN": (changed(flair=NAN), 400, "NaN"),
    "bomb": (changed(flair=gzip.compress(FLAIR + bytes(100_000_000))), 400, "longer"),
    "empty form": ({"files": {"": ("x", b"")}}, 400, "channel"),
    "no such answer": (form(tiny_release.files(), "text/html"), 406, "no such answer"),
    "too large": (changed(flair=bytes(LIMIT_MB * 1_000_000)), 413, "too large"),
    "too many voxels": (
        changed(t1=gzip.compress(nib.Nifti1Image(np.zeros((70, 70, 70), np.int16), np.eye(4)).to_bytes())),
        413,
        "t1 unpacks to",
    ),
    "no form": ({"content": FLAIR}, 415, "not multipart"),
    "JSON": ({"json": {"t1": 1}}, 415, "not multipart"),
    "no boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "cannot be read"),
    "not the form it says": (
        {"content": b"x" * 1000, "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        400,
        "cannot be read",
    ),
    "form cut short": (
        {
            "content": b'--b\r\nContent-Disposition: form-data; name="t1"; filename="x"\r\n\r\nabc',
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
        400,
        "",
    ),
    "many parts": ({"files": [(f"c{i}", ("x", b"")) for i in range(200)]}, 400, "cannot be read"),
    "path as a name": (changed(**{"../../etc/passwd": FLAIR}), 400, "unknown channel"),
}


@pytest.mark.road
@pytest.mark.parametrize("name", BAD)
def test_bad_requests_get_one_clear_answer(client, name):
    request, status, said = BAD[name]
    answer = client.post("/v1/segment", **request)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error", "expected", "remedy"} and said in told["error"] and all(told.values())
    assert "Traceback" not in answer.text and "site-packages" not in answer.text and "Jane" not in answer.text


@pytest.mark.road
def test_size_is_watched_while_reading(client):
    """A body sent in chunks states no length."""

    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="t1"; filename="x"\r\n\r\n'
        for _ in range(12):
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/segment", content=chunks(), headers=headers)
    assert answer.status_code == 413 and "too large" in answer.json()["error"]


@pytest.mark.road
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/segment", 405), ("POST", "/v1/models", 405), ("GET", "/v1/nothing", 404), ("GET", "/v1/../x", 404)],
)
def test_no_such_page_or_method(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    if path.startswith("/v1/") and ".." not in path:
        assert set(answer.json()) == {"error", "expected", "remedy"}


@pytest.mark.road
def test_nothing_is_written_or_logged_about_a_request(served):
    """Runs after the others: uploads have left neither files nor names."""
    client, log, temporary = served
    client.post("/v1/segment", **form(tiny_release.files()))
    assert [path for path in temporary.rglob("*") if path.is_file() and path.suffix != ".db"] == []
    text = log.read_text()
    assert "Jane" not in text and "Traceback" not in text


@pytest.mark.road
def test_listens_on_this_machine_only(client):
    """Asked for by nobody, BentoML would listen on every address."""
    port = int(re.search(r":(\d+)", str(client.base_url))[1])
    listening = Path("/proc/net/tcp").read_text().splitlines()
    addresses = {
        line.split()[1] for line in listening if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    }
    assert addresses == {f"0100007F:{port:04X}"}


@pytest.mark.road
def test_a_bento_serves_the_same_from_another_folder(tmp_path):
    """Built beside a repository where the release is registered, the bento still knows its version without Git."""
    build, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(ROOT / "src", build / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "bentofile.yaml", build)
    release = tiny_release.write(build / "releases" / "brain")
    register(build, release)
    environment = {"BENTOML_HOME": str(tmp_path / "home"), "PYTHONPATH": str(build / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "-o", "tag"],
        cwd=build,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (tmp_path / "home" / "bentos").glob("segmentation/*/")
    bento = shutil.copytree(built, elsewhere / "bento")
    bundle = Bundle.load(release)
    expected = bundle.segment(tiny_release.volume())
    shutil.rmtree(build)

    with running(bento, elsewhere, PYTHONPATH="") as (client, _):
        answer = client.post("/v1/segment", **form(tiny_release.files()))
        (told,) = client.get("/v1/models").json()["models"]
    label = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    assert np.array_equal(np.asarray(label.dataobj), expected)
    assert told["manifest"] == bundle.manifest_id
    assert told["version"] == "v1.0.0" and told["tags"] == ["brain-segmenter@v1.0.0"]


def register(root, release):
    """Commit a `dvc.lock` that pins the release, and tag it as GTO does (the real tools: test_versions.py)."""
    out = {"path": "releases/brain", "hash": "md5", "md5": versions.dvc_hash(release)}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"release@brain": {"outs": [out]}}}))
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-q", "-m", "release"]):
        subprocess.run(["git", *who, *command], cwd=root, check=True)
    subprocess.run(["git", *who, "tag", "-a", "brain-segmenter@v1.0.0", "-m", "v1.0.0"], cwd=root, check=True)


@pytest.mark.road
def test_a_broken_release_stops_the_server_before_it_listens(release, tmp_path):
    broken = shutil.copytree(release, tmp_path / "brain")
    (broken / "model.safetensors").write_bytes(b"")
    environment = {"SYNTHGATE_RELEASE": str(broken), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", service.SERVICE, "--port", "0"],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0 and "dvc checkout" in done.stdout + done.stderr


def test_serve_refuses_what_it_cannot_serve(tmp_path, release, monkeypatch):
    with pytest.raises(ArtefactError, match="dvc"):
        service.serve(release=tmp_path / "none")
    monkeypatch.setenv("SYNTHGATE_MAX_MB", "much")
    with pytest.raises(ParamsError, match=r"SYNTHGATE_MAX_MB.*much"):
        service.serve(release=release)


def test_serve_becomes_bentoml_on_this_machine(release, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execve", lambda *arguments: called.append(arguments))
    service.serve(port=3456, release=release)
    ((_, command, environment),) = called
    assert command[1:] == ["-m", "bentoml", "serve", service.SERVICE, "--host", "127.0.0.1", "--port", "3456"]
    assert environment["SYNTHGATE_RELEASE"] == str(release) and environment["BENTOML_DO_NOT_TRACK"] == "True"


def test_labels_of_another_release_do_not_count(release):
    tag = "brain-segmenter@v1.0.0"
    assert service.tags_of(release, {"release": versions.dvc_hash(release), "tags": tag}) == (tag,)
    assert service.tags_of(release, {"release": "other.dir", "tags": tag}) == ()


def test_bentofile_pins_what_the_constraints_pin():
    asked = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    pinned = {line.strip().lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert [package for package in asked if package.lower() not in pinned] == []
