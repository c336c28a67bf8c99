"""params.yaml, every preset, and what is said of a wrong key."""

import copy
import re
import shutil
from pathlib import Path

import pytest
import yaml

from synthgate import params, presets
from synthgate.errors import ParamsError

ROOT = Path(__file__).resolve().parent.parent
PLAIN = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture
def plain():
    return copy.deepcopy(PLAIN)


@pytest.fixture
def root(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    return tmp_path


def at(value, place):
    for key in place.split("."):
        value = value[key]
    return value


def refused(plain):
    """The lines of the error, without the first that names the file."""
    with pytest.raises(ParamsError) as error:
        params.parse(plain)
    head, *lines = str(error.value).splitlines()
    assert head == "params.yaml:"
    return lines


def test_the_shipped_file_parses_to_what_it_says():
    loaded = params.load(ROOT / "params.yaml")
    row = loaded.studies["brain"]
    assert row.study.segmenter.steps == at(PLAIN, "studies.brain.study.segmenter.steps")
    assert row.cohort.labels == (1, 2, 4)
    assert set(loaded.batches) == set(PLAIN["batches"])


def test_as_plain_gives_the_file_back():
    loaded = params.load(ROOT / "params.yaml")
    again = params.as_plain(loaded)
    assert params.parse(again) == loaded
    assert at(again, "studies.brain.cohort") == at(PLAIN, "studies.brain.cohort")


@pytest.mark.parametrize("name", presets.names(ROOT))
def test_every_preset_gives_valid_parameters_that_hold_it(root, name):
    presets.use(name, root)
    wanted = yaml.safe_load((root / "presets" / f"{name}.yaml").read_text())
    got = yaml.safe_load((root / "params.yaml").read_text())

    def holds(want, have):
        if isinstance(want, dict):
            return all(key not in have if value is None else holds(value, have[key]) for key, value in want.items())
        return want == have

    assert holds(wanted, got)
    params.load(root / "params.yaml")


@pytest.mark.parametrize("name", presets.names(ROOT))
def test_the_shipped_preset_undoes_any_other(root, name):
    before = params.load(root / "params.yaml")
    presets.use(name, root)
    presets.use("shipped", root)
    assert params.load(root / "params.yaml") == before


def test_the_shipped_preset_is_what_is_committed(root):
    presets.use("shipped", root)
    assert params.load(root / "params.yaml") == params.load(ROOT / "params.yaml")


def test_a_preset_that_changes_nothing_leaves_the_text_alone(root):
    before = (root / "params.yaml").read_text()
    presets.use("shipped", root)
    assert (root / "params.yaml").read_text() == before


def test_a_preset_keeps_comments_and_the_rest(root):
    before = (root / "params.yaml").read_text()
    presets.use("test", root)
    after = (root / "params.yaml").read_text()
    comments = [line.split("#", 1)[1] for line in before.splitlines() if "#" in line]
    assert comments and all(comment in after for comment in comments)
    assert "channels: [t1, t1ce, t2, flair]" in after


def test_null_removes_a_key_and_lists_are_replaced(root):
    changes = {"studies": {"brain": {"study": {"arms": {"real_12": None, "mixed_12": None}}}}, "batches": {}}
    (root / "presets" / "small.yaml").write_text(yaml.safe_dump(changes))
    presets.use("small", root)
    assert list(params.load(root / "params.yaml").studies["brain"].study.arms) == ["real", "mixed"]


def test_an_unknown_preset_is_refused_with_those_there_are(root):
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(ParamsError, match=r"no preset huge; the presets are .*lgg, shipped, test"):
        presets.use("huge", root)
    assert (root / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [{"studies": {"brain": {"gate": {"oops": 1}}}}, {"batches": {"randomised": {"generator": "nobody"}}}, {"odd": 1}],
)
def test_a_preset_that_would_be_invalid_changes_nothing(root, change):
    (root / "presets" / "bad.yaml").write_text(yaml.safe_dump(change))
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(ParamsError):
        presets.use("bad", root)
    assert (root / "params.yaml").read_bytes() == before
    assert sorted(p.name for p in root.iterdir()) == ["params.yaml", "presets"]


PLACES = [
    ("studies.brain", "cohort"), ("studies.brain.cohort", "regions"), ("studies.brain.prepare", "size"),
    ("studies.brain.calibrate", "folds"), ("studies.brain.calibrate.segmenter", "features"),
    ("studies.brain.gate", "draws"), ("studies.brain.study", "arms"), ("studies.brain.study.arms.real", "patients"),
    ("studies.brain.study.segmenter", "steps"), ("studies.brain.release", "artifact"),
    ("generators.randomised", "clusters"), ("generators.randomised.patients", "size"), ("batches.randomised", "cases"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "sibling"), PLACES)
def test_an_unknown_key_is_named_with_its_place_and_the_valid_ones(plain, place, sibling):
    at(plain, place)["oops"] = 1
    (line,) = refused(plain)
    assert line.startswith(f"  {place}.oops: unknown key")
    valid = line.split("here: ")[1].split(", ")
    assert sibling in valid
    assert set(valid) >= set(at(PLAIN, place))


def test_private_training_is_parsed_and_its_wrong_keys_told(plain):
    fitting = {
        "steps": 9,
        "batch": 4,
        "learning_rate": 0.1,
        "ema": 0,
        "checkpoint_every": 3,
        "judged": 5,
        "memorised": 0.5,
        "inner": 0.2,
    }
    privacy = {"epsilon": 8, "delta": 1e-3, "clip": 1, "patients": 2}
    plain["generators"]["d"] = plain["generators"]["randomised"] | {
        "kind": "diffusion", "attributes": [], "features": [8, 8, 8], "patch": 1, "fitting": fitting, "flow": "ddpm",
        "steps": 3, "privacy": privacy,
    }  # fmt: skip
    assert params.parse(plain).generators["d"].privacy == params.Privacy(8.0, 1e-3, 1.0, 2)
    privacy["public"] = {"folder": "public/brain", "digest": "0" * 64}
    assert params.parse(plain).generators["d"].privacy.public == params.Public("public/brain", "0" * 64)
    privacy["public"] = {"folder": "public/brain", "digest": "sha"}
    (line,) = refused(plain)
    assert line.startswith("  generators.d.privacy.public.digest: ")
    privacy["public"] = {"folder": "public/brain", "digest": "0" * 64, "oops": 1}
    (line,) = refused(plain)
    assert line.startswith("  generators.d.privacy.public.oops: unknown key") and line.endswith("here: folder, digest")
    del privacy["public"]
    privacy["oops"] = 1
    (line,) = refused(plain)
    assert line.startswith("  generators.d.privacy.oops: unknown key") and "here: epsilon, delta, clip, patie" in line
    del privacy["oops"]
    privacy |= {"epsilon": float("inf"), "delta": 1, "clip": 0}
    assert [line.split(":")[0].rpartition(".")[2] for line in refused(plain)] == ["epsilon", "delta", "clip"]
    del plain["generators"]["d"]["privacy"]
    assert params.parse(plain).generators["d"].privacy is None


def test_an_unknown_section_is_named(plain):
    plain["models"] = {}
    (line,) = refused(plain)
    assert "models: unknown key" in line and "studies, generators, batches" in line


@pytest.mark.parametrize(("place", "key"), PLACES)
def test_a_missing_key_is_named_with_its_place(plain, place, key):
    del at(plain, place)[key]
    (line,) = refused(plain)
    assert line.startswith(f"  {place}.{key}: missing key")


def test_all_wrong_keys_are_told_at_once(plain):
    plain["studies"]["brain"]["gate"]["oops"] = 1
    del plain["batches"]["randomised"]["cases"]
    assert len(refused(plain)) == 2


BRAIN = "studies.brain"
CONTRADICTIONS = [
    (f"{BRAIN}.cohort", "channels", ["t1", "t1"], "named once"),
    (f"{BRAIN}.cohort", "channels", [], "channels"),
    (f"{BRAIN}.cohort", "regions", {}, "at least one region"),
    (f"{BRAIN}.cohort", "regions", {"WT": [0, 1]}, "0 is background"),
    (f"{BRAIN}.cohort", "regions", {"WT": []}, "label values"),
    (f"{BRAIN}.cohort", "validation", 0.9, "nobody to train on"),
    (f"{BRAIN}.prepare", "size", [80, 90], "multiples of 16"),
    (f"{BRAIN}.prepare", "percentiles", [99, 1], "rise"),
    (f"{BRAIN}.study.segmenter", "spatial_dims", 3, "patch needs 3"),
    (f"{BRAIN}.study.segmenter", "patch", [20, 20], "divisible by 16"),
    (f"{BRAIN}.study.segmenter", "steps", 0, "greater than 0"),
    (f"{BRAIN}.study", "folds", 1, "at least 2"),
    (f"{BRAIN}.study.arms.mixed", "baseline", None, "names its real-only baseline"),
    (f"{BRAIN}.study.arms.real", "baseline", "real_12", "a real-only arm has none"),
    (f"{BRAIN}.study.arms.mixed", "baseline", "mixed_12", "must be a real-only arm"),
    (f"{BRAIN}.study.arms.mixed", "baseline", "real_12", "its baseline real_12 has patients: 12, not all"),
    (f"{BRAIN}.study.arms.mixed", "batches", {"randomised": 1.5}, "sum to at most 1"),
    (f"{BRAIN}.study.arms.mixed", "batches", {"other": 0.25}, r"the rows are \['diffusion', 'gan', 'randomised'\]"),
    (f"{BRAIN}.release", "candidates", ["real", "best"], "no arm best"),
    (f"{BRAIN}.release", "candidates", ["mixed"], "the fallback"),
    (f"{BRAIN}.release", "candidates", [], "the fallback"),
    (f"{BRAIN}.release", "artifact", "Brain_1", "artifact"),
    ("generators.randomised", "study", "lung", r"the rows are \['brain'\]"),
    ("batches.randomised", "generator", "other", r"the rows are \['diffusion', 'gan', 'randomised'\]"),
    (f"{BRAIN}.study.segmenter", "features", [16, 32], "at least three multiples of 4"),
    (f"{BRAIN}.study.segmenter", "features", [6, 12, 24], "at least three multiples of 4"),
    (f"{BRAIN}.study.arms.real", "patients", "some", "patients: expected a whole number, or all, got 'some'"),
]


@pytest.mark.parametrize(("place", "key", "value", "told"), CONTRADICTIONS)
def test_a_contradiction_is_one_message_that_says_which(plain, place, key, value, told):
    at(plain, place)[key] = value
    lines = refused(plain)
    assert len(lines) == 1, lines
    assert re.search(told, lines[0]), lines[0]


@pytest.mark.parametrize("text", ["", "- 1", "studies: 3\ngenerators: {}\nbatches: {}", "a: [", "\tx: 1"])
def test_a_file_of_another_shape_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        params.load(path)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="run synthgate in the repository's root"):
        params.load(tmp_path / "params.yaml")


def test_a_batch_of_another_studys_generator_is_refused(plain):
    plain["studies"]["lung"] = copy.deepcopy(plain["studies"]["brain"])
    plain["studies"]["lung"]["study"]["arms"] = {"real": {"patients": "all", "batches": {}, "regime": "donor"}}
    plain["studies"]["lung"]["release"]["candidates"] = ["real"]
    params.parse(plain)
    plain["batches"]["foreign"] = dict(plain["batches"]["randomised"], study="lung")
    (line,) = refused(plain)
    assert "its generator randomised is of study brain, not lung" in line


def test_a_key_given_twice_is_refused_and_not_silently_the_last(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("studies: {}\nstudies: {}\n")
    with pytest.raises(ParamsError, match=r"duplicate key \"studies\"") as error:
        params.load(path)
    assert "suppress" not in str(error.value)
