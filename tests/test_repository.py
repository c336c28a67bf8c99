"""The repository itself: its commands, its documents, its parameter sets, and what must not be in it."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthgate import params

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, flags=re.MULTILINE))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TELEMETRY_OFF = {
    "BENTOML_DO_NOT_TRACK": "True",  # only "true" counts
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "ITERATIVE_DO_NOT_TRACK": "1",
}


def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with this interpreter's environment first on the path and the checkout's package importable."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")} | environment
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def synthgate(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return run(
        sys.executable, "-c", "import sys; from synthgate.cli import main; sys.exit(main())", *arguments, cwd=cwd
    )


def tracked() -> list[Path]:
    """Files that git has or would add."""
    told = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    return sorted({file for name in told.split("\0") if name and (file := ROOT / name).is_file()})


def commands(document: Path) -> list[list[str]]:
    """Commands of a document's shell blocks, as words, without comments and continued lines joined."""
    text = document.read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split("&&")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


# --- telemetry


def test_the_package_turns_telemetry_off_on_import() -> None:
    code = (
        "import sys; sys.path.insert(0, 'src'); import synthgate, os; [print(os.environ.get(k)) for k in sys.argv[1:]]"
    )
    # -S: without the environment's own .pth file, which would turn it off before the package does
    command = [sys.executable, "-S", "-c", code, *TELEMETRY_OFF]
    told = subprocess.run(
        command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == list(TELEMETRY_OFF.values())


def test_make_turns_telemetry_off(tmp_path: Path) -> None:
    probe = tmp_path / "Makefile"
    probe.write_text(MAKEFILE + "\nprobe:\n\t@env\n")
    told = run("make", "-f", str(probe), "probe", **dict.fromkeys(TELEMETRY_OFF, "unset"))
    assert set(told.stdout.splitlines()) >= {f"{k}={v}" for k, v in TELEMETRY_OFF.items()}


def test_dvc_does_not_report_and_has_no_default_remote() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert config["core"]["analytics"] == "false"
    assert "remote" not in config["core"]
    assert config["'remote \"phantom\"'"]["url"] == "../remotes/phantom"


# --- commands and documents


def test_make_has_the_targets_it_promises() -> None:
    assert {"setup", "repro", "test", "lint", "bench", "serve"} <= TARGETS
    told = run("make", "help").stdout
    assert all(f"make {target} " in told for target in TARGETS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_in_documents_exist(document: Path) -> None:
    named = {words[1] for words in commands(document) if words[0] == "make"}
    named |= set(re.findall(r"`make ([a-z]+)", document.read_text(encoding="utf-8")))
    assert named <= TARGETS


def told_commands() -> list[tuple[str, ...]]:
    """Each `synthgate …` command of README, once."""
    return sorted({tuple(words[1:]) for words in commands(ROOT / "README.md") if words[0] == "synthgate"})


@pytest.mark.parametrize("arguments", told_commands(), ids=" ".join)
def test_readme_commands_exist(arguments: tuple[str, ...]) -> None:
    told = synthgate(arguments[0], "--help")
    assert told.returncode == 0, told.stderr
    assert all(word in told.stdout for word in arguments if word.startswith("--"))


def test_readme_tells_the_two_commands() -> None:
    assert commands(ROOT / "README.md")[:2] == [["make", "repro"], ["make", "test"]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


# --- parameters


def test_shipped_parameters_parse() -> None:
    params.load(ROOT / "params.yaml")


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "presets").glob("*.yaml")))
def test_every_preset_merges_and_parses(preset: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    told = synthgate("params", "use", preset, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    params.load(tmp_path / "params.yaml")


def test_the_presets_that_the_documents_name_are_there() -> None:
    assert {path.stem for path in (ROOT / "presets").glob("*.yaml")} >= {"shipped", "test", "lgg"}


# --- the code


def test_imports_run_downwards_only() -> None:
    told = run("lint-imports")
    assert told.returncode == 0, told.stdout


def test_no_file_is_long() -> None:
    code = [path for folder in ("src", "pipelines", "tests", "bench") for path in (ROOT / folder).rglob("*.py")]
    assert code
    assert {path: lines for path in code if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400} == {}


# --- what must not be here


def test_no_tracked_file_names_this_machine() -> None:
    # the checkout's neighbours count too, unless it lies in a folder that any document may name
    place = ROOT if ROOT.parent in (Path("/"), Path("/tmp"), Path.home()) else ROOT.parent
    named = re.compile(rb"(?<![\w./-])" + re.escape(f"{place}/".encode()))
    assert [path for path in tracked() if named.search(path.read_bytes())] == []


def test_no_tracked_file_is_named_like_a_patient_of_the_adopted_cohorts() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in tracked()]
    assert [name for name in names if re.search(r"TCGA_|patient_\d+_[LR]\d", name)] == []


def test_the_phantom_remote_holds_only_the_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    from synthgate.cohort import guard

    monkeypatch.chdir(ROOT)
    assert guard.problems() == []
