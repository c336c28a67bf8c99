"""The road refuses: leaks planted three ways, and bad input, each with one clear message and nothing half-made."""

import shutil

import numpy as np
import pytest
import road as roads_of
from road import digests, dvc, half_made, refused, run, stage, stages_run, synthgate

from synthgate import cards
from synthgate.cohort import folder, identity, nifti, splits
from synthgate.cohort.store import Store
from synthgate.files import digest, read_json, remove, write_json

pytestmark = pytest.mark.road
BATCH = "batches/brain/randomised"
VERDICT = "reports/gate/brain/randomised/verdict.json"


@pytest.fixture(scope="module")
def shared(road, tmp_path_factory):
    return roads_of.copy(road, tmp_path_factory.mktemp("refuses") / "clone")


@pytest.fixture
def clone(road, shared):
    """The copy of the road, as the road left it but for its scratch."""
    yield shared
    run(shared, "git", "checkout", "-q", ".")
    run(shared, "git", "clean", "-fdq")
    for name in (*roads_of.MADE, "splits", "data"):
        remove(shared / name)
        shutil.copytree(road / name, shared / name)


def patient_of(clone, split):
    return next(who for who, where in splits.read(clone / "splits/brain.csv").items() if where == split)


def sign(path):
    """Write a folder's card anew, as somebody would who means the change."""
    cards.write(path, cards.read(path))


def findings(clone):
    """The names of the findings that failed and reject, and the verdict."""
    verdict = read_json(clone / VERDICT)
    assert verdict["verdict"] == "rejected" and verdict["proportion"] == 0
    return {f["name"]: f for f in verdict["findings"] if f["outcome"] == "failed" and f["weight"] == "rejects"}


def declare_donor(clone, who):
    rows = folder.read_table(clone / BATCH)
    rows[0]["donors"] = f"{rows[0]['donors']};{who}"
    folder.write_table(clone / BATCH, rows)
    return rows[0]["case_id"]


# --- a validation patient's lesion in a training anatomy


@pytest.mark.parametrize("split", ["validation", "hold-out"])
def test_a_batch_with_a_held_out_donor(clone, split):
    who = patient_of(clone, split)
    case = declare_donor(clone, who)
    sign(clone / BATCH)
    stage(clone, "gate", "randomised")
    lineage = findings(clone)["lineage"]
    assert who in lineage["sentence"] and split in lineage["sentence"] and lineage["cases"] == [case]
    synthgate(clone, "verdict", "--check", fails=True)
    refused(stage(clone, "study", "brain", fails=True), "batch randomised", who, split)
    assert not half_made(clone)


def test_a_batch_with_an_undeclared_validation_lesion(clone):
    store = Store.open(clone / "build/brain")
    sizes = {case.case: int((store.label(case) > 0).sum()) for case in store.select("validation")}
    case = next(case for case in store.cases if case.case == max(sizes, key=sizes.get))
    victim = folder.read_table(clone / BATCH)[0]["case_id"]
    path = clone / BATCH / victim / "label.nii.gz"
    old = nifti.assemble({"t1": clone / BATCH / victim / "t1.nii.gz"}, path)
    nifti.write(path, store.label(case), old.affine, old.spacing_known)
    sign(clone / BATCH)
    stage(clone, "gate", "randomised")
    found = findings(clone)["undeclared_anatomies"]
    assert victim in found["cases"] and case.patient in found["sentence"]
    synthgate(clone, "verdict", "--check", fails=True)


def test_a_batch_changed_behind_its_card_is_not_judged_by_what_it_was(clone):
    stage(clone, "gate", "randomised")  # scratch holds what was measured of the honest batch
    declare_donor(clone, patient_of(clone, "validation"))
    said = stage(clone, "gate", "randomised", fails=True)
    refused(said, BATCH, "card")


# --- a generator trained on validation


def test_a_generator_whose_card_lists_a_validation_patient(clone):
    who, before = patient_of(clone, "validation"), digest(clone / BATCH)
    card = read_json(clone / "models/randomised/card.json")
    write_json(clone / "models/randomised/card.json", card | {"patients": [*card["patients"], who]})
    refused(stage(clone, "synthesize", "randomised", fails=True), "models/randomised", who, "validation")
    assert digest(clone / BATCH) == before and not half_made(clone)


def test_a_generator_that_learned_from_who_is_validation_now(clone):
    table = splits.read(clone / "splits/brain.csv")
    who = read_json(clone / "models/randomised/card.json")["patients"][-1]
    splits.write(clone / "splits/brain.csv", table | {who: "validation"})
    refused(stage(clone, "synthesize", "randomised", fails=True), "models/randomised", who, "validation")


# --- the same image under two names


def doubled(cohort, first, second):
    """Put the first case's files under the second one's name."""
    remove(cohort / second)
    shutil.copytree(cohort / first, cohort / second)


def test_the_same_image_under_two_names_in_data(clone, patients, tmp_path):
    source = shutil.copytree(patients, tmp_path / "source")
    first, second = sorted(path.name for path in source.iterdir() if path.is_dir())[2:4]
    doubled(source, first, second)
    before = digest(clone / "data")
    said = synthgate(clone, "adopt", str(source), "--layout", "cohort", "--study", "brain", fails=True)
    refused(said, first, second, "nothing was changed")
    assert digest(clone / "data") == before and run(clone, "git", "status", "--porcelain") == ""


def test_the_same_image_under_two_names_in_a_batch(clone):
    first, second = (row["case_id"] for row in folder.read_table(clone / BATCH)[:2])
    doubled(clone / BATCH, first, second)
    sign(clone / BATCH)
    stage(clone, "gate", "randomised")
    (found,) = findings(clone).values()
    assert first in found["sentence"] and second in found["sentence"]


def test_a_training_image_in_a_batch(clone):
    """The same image under two names, once as a patient's and once as nobody's."""
    key = identity.key_for("brain", True, root=clone)
    train = {who for who, split in splits.read(clone / "splits/brain.csv").items() if split == "train"}
    rows = folder.read_table(clone / "data/brain")
    row = next(row for row in rows if identity.pseudonym(key, row["patient_id"]) in train)
    victim = clone / BATCH / folder.read_table(clone / BATCH)[0]["case_id"]
    shutil.rmtree(victim)
    shutil.copytree(clone / "data/brain" / row["case_id"], victim)
    sign(clone / BATCH)
    stage(clone, "gate", "randomised")
    assert victim.name in findings(clone)["no_patient"]["cases"]


# --- bad input


def test_an_orphan_batch(clone, road):
    shutil.copytree(clone / BATCH, clone / "batches/brain/orphan")
    said = dvc(clone, "repro", fails=True)
    assert stages_run(said) == ["study@brain"]
    refused(said, "batches/brain/orphan", "no row", "params.yaml")
    assert not half_made(clone) and not (clone / "models/arms/brain").exists()
    shutil.rmtree(clone / "batches/brain/orphan")
    dvc(clone, "repro")
    assert digests(clone) == digests(road)


def test_an_unknown_parameter(clone):
    path = clone / "params.yaml"
    path.write_text(path.read_text().replace("    clusters:", "    clusterz: 4\n    clusters:"))
    said = dvc(clone, "repro", fails=True)
    refused(said, "params.yaml", "generators.randomised.clusterz", "unknown key")
    assert not half_made(clone)
    refused(synthgate(clone, "params", fails=True), "generators.randomised.clusterz", "clusters")


def test_a_batch_of_another_study(clone):
    rows = [row | {"study": "lung"} for row in folder.read_table(clone / BATCH)]
    folder.write_table(clone / BATCH, rows)
    sign(clone / BATCH)
    before = digest(clone / VERDICT)
    refused(stage(clone, "gate", "randomised", fails=True), BATCH, "study lung", "brain")
    assert digest(clone / VERDICT) == before and not half_made(clone)


@pytest.mark.parametrize("harm", ["truncated", "missing", "nan"])
def test_a_patient_damaged_after_adoption(clone, harm):
    case = folder.read_table(clone / "data/brain")[3]["case_id"]
    file = clone / "data/brain" / case / "t1.nii.gz"
    content = file.read_bytes()
    file.unlink()
    if harm == "truncated":
        file.write_bytes(content[: len(content) // 2])
    if harm == "nan":
        volume = nifti.assemble({"t2": file.with_name("t2.nii.gz")}, None)
        nifti.write(file, np.full(volume.images["t2"].shape, np.nan, np.float32), volume.affine, True)
    also = folder.read_table(clone / "data/brain")[7]["case_id"]
    content = (other := clone / "data/brain" / also / "flair.nii.gz").read_bytes()
    other.unlink()
    other.write_bytes(content[:99])
    remove(clone / "build/brain")
    refused(stage(clone, "prepare", "brain", fails=True), case, "t1", also, "flair")
    assert not half_made(clone) and not (clone / "build/brain").exists()
