import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthgate.registry import versions

NAME = "brain-segmenter"
STAGE = """
stages:
  release:
    cmd: mkdir -p releases/brain/sub && cp weights releases/brain/model && cp weights releases/brain/sub/a
    deps: [weights]
    outs: [releases/brain]
artifacts:
  brain-segmenter: {path: releases/brain, type: model, desc: tiny}
"""


def run(root, *command):
    # git's own, so that no setting of the machine or the user matters
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "DVC_NO_ANALYTICS": "true"}
    own |= {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | own | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Two releases with different content, registered as v1.0.0 and v1.10.0; v1.9.0 is the first again."""
    root = tmp_path_factory.mktemp("repo")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "config", "core.analytics", "false"]):
        run(root, *command)
    (root / "dvc.yaml").write_text(STAGE)
    for content, version in (("first", "v1.0.0"), ("second", "v1.10.0"), ("first", "v1.9.0")):
        (root / "weights").write_text(content)
        run(root, "dvc", "repro", "-q")
        run(root, "git", "add", ".")
        run(root, "git", "commit", "-q", "-m", f"{content} for {version}")
        run(root, "gto", "register", NAME, "--version", version)
    return root


@pytest.fixture
def copy(repo, tmp_path):
    return shutil.copytree(repo, tmp_path / "repo", symlinks=True)


def test_all_versions_of_this_content_highest_first(repo):
    assert versions.of(repo / "releases/brain", NAME) == (f"{NAME}@v1.9.0", f"{NAME}@v1.0.0")
    assert versions.registered(repo, NAME) == [f"{NAME}@v1.10.0", f"{NAME}@v1.9.0", f"{NAME}@v1.0.0"]


def test_the_content_counts_not_the_checkout(copy):
    (copy / "weights").write_text("second")
    run(copy, "dvc", "repro", "-q")
    assert versions.of(copy / "releases/brain", NAME) == (f"{NAME}@v1.10.0",)


def test_fetched_by_its_name_it_is_the_version(copy, tmp_path):
    run(copy, "dvc", "artifacts", "get", ".", NAME, "--rev", "v1.10.0", "-o", "../fetched")
    assert (tmp_path / "fetched/model").read_text() == "second"
    shutil.rmtree(copy / "releases/brain")
    shutil.copytree(tmp_path / "fetched", copy / "releases/brain")
    assert versions.of(copy / "releases/brain", NAME) == (f"{NAME}@v1.10.0",)


def test_changed_or_other_content_is_unregistered(copy):
    model = copy / "releases/brain/model"
    model.unlink()  # a link into DVC's cache, maybe
    model.write_text("third")
    assert versions.of(copy / "releases/brain", NAME) == ()
    assert versions.version(()) == "unregistered"


def test_other_name_other_folder_no_folder(repo):
    assert versions.of(repo / "releases/brain", "lung-classifier") == ()
    assert versions.of(repo / "releases", NAME) == ()
    assert versions.of(repo / "releases/lung", NAME) == ()


def test_outside_git(tmp_path):
    assert versions.of(tmp_path, NAME) == ()


def test_taken_back(copy):
    run(copy, "gto", "deprecate", NAME, "v1.9.0")
    assert versions.of(copy / "releases/brain", NAME) == (f"{NAME}@v1.0.0",)


def test_stages_and_foreign_tags_are_no_versions(copy):
    run(copy, "gto", "assign", NAME, "--version", "v1.0.0", "--stage", "prod")
    run(copy, "git", "tag", "v3.0.0")
    run(copy, "git", "tag", f"{NAME}@latest")
    assert versions.registered(copy, NAME) == [f"{NAME}@v1.10.0", f"{NAME}@v1.9.0", f"{NAME}@v1.0.0"]


def test_a_pre_release_comes_before_its_version(copy):
    run(copy, "git", "commit", "-q", "--allow-empty", "-m", "one more")
    run(copy, "gto", "register", NAME, "--version", "v1.9.0-rc1")
    assert versions.registered(copy, NAME)[1:3] == [f"{NAME}@v1.9.0", f"{NAME}@v1.9.0-rc1"]


def test_version_of_tags():
    assert versions.version((f"{NAME}@v1.9.0", f"{NAME}@v1.0.0")) == "v1.9.0"
