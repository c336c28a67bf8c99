"""Private training with a public source: nothing of a patient is outside the network's weights."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny_heads
from safetensors.numpy import load_file
from test_learned import DIFFUSION
from test_sampling import run
from tiny_heads import BATCH, PEOPLE, store, trained

from synthgate import cards
from synthgate.cohort import entries
from synthgate.cohort.folder import read_table, write_case, write_table
from synthgate.errors import CohortError, LineageError
from synthgate.files import digest, write_json
from synthgate.generators.generator import load
from synthgate.generators.learned import paintings
from synthgate.generators.learned.slices import OfPatient
from synthgate.generators.private import claim
from synthgate.params import Privacy, Public

PRIVACY = Privacy(epsilon=8.0, delta=0.01, clip=1.0, patients=3)
NUMBERS = (10, 11, 12, 13)
VOLUME = tiny_heads.volume


def folder_of(numbers, out):
    """A public cohort folder: other people than the tiny store's, some of a site that no patient is of."""
    rows = [
        {"case_id": f"open-{n}", "patient_id": f"Somebody {n}", "site": "AC"[n % 2], "sex": "M", "age": str(60 + n)}
        for n in numbers
    ]
    for number, row in zip(numbers, rows, strict=True):
        write_case(out, row["case_id"], VOLUME(number))
    write_table(out, rows)
    write_json(out / "source.json", {"labels": [1, 2], "terms": ["CC-BY"]})
    return out


def row_of(folder):
    return dataclasses.replace(
        DIFFUSION, privacy=dataclasses.replace(PRIVACY, public=Public(str(folder), digest(folder)))
    )


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    return folder_of(NUMBERS, tmp_path_factory.mktemp("public") / "brain")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return store(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def altered(tmp_path_factory):
    """The same patients, of whom the first looks otherwise and is of a site of their own."""

    def volume(number, **known):
        found = VOLUME(number, **known)
        if number:
            return found
        images = {name: np.where(image > 0, 1300 - image, 0) for name, image in found.images.items()}
        label = np.roll(np.where(found.label == 2, 1, found.label), 3, axis=1)
        return dataclasses.replace(found, images=images, label=np.where(found.images["t1"] > 0, label, 0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_heads, "volume", volume)
        made = store(tmp_path_factory.mktemp("altered"))
    made.cases[0] = dataclasses.replace(made.cases[0], attributes={"site": "Z", "sex": "X"})
    return made


@pytest.fixture(scope="module")
def folder(made, public, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models"), made, row_of(public))


@pytest.fixture(scope="module")
def batch(folder, tmp_path_factory):
    return run(tmp_path_factory.mktemp("batch"), folder)


# --- the generator


def test_all_but_the_weights_is_of_the_public_source(folder, made, public):
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    names = [f"open-{n}" for n in NUMBERS]
    assert [head["key"] for head in config["heads"]] == names == [lesion["key"] for lesion in config["lesions"]]
    assert [head["patient"] for head in config["heads"]] == [f"public:Somebody {n}" for n in NUMBERS]
    assert {head["attributes"]["site"] for head in config["heads"]} == {"A", "C"}
    assert {key for key in weights if key.startswith("head.")} == {f"head.{name}" for name in names}
    assert len(weights["style"]) == len(NUMBERS)
    assert load(folder).painter.conditions.groups == (("A",), ("C",))  # B, of half of the patients, is not among them


def test_the_card_names_the_patients_and_the_source(folder, public):
    card = cards.read(folder)
    assert card.patients == tuple(PEOPLE[:6]) and card.terms == ("CC0", "CC-BY")
    assert card.inputs == {str(public): digest(public)}
    assert card.facts["privacy"]["public"] == {"folder": str(public), "digest": digest(public)}
    assert card.facts["privacy"]["claim"] == claim(card.facts["privacy"]["epsilon"], 0.01, True)
    assert (card.facts["heads"], card.facts["lesions"]) == (4, 4) and "slices" not in card.facts


def test_another_patient_changes_no_byte_but_of_the_network(folder, made, altered, public, tmp_path):
    other = trained(tmp_path / "public", altered, row_of(public))
    same = {path.name for path in folder.iterdir() if digest(path) == digest(other / path.name)}
    assert same == {"config.json", "weights.safetensors"}
    # and without a public source both change, so that the test can fail
    plain = dataclasses.replace(DIFFUSION, privacy=PRIVACY)
    one, two = (trained(tmp_path / name, at, plain) for name, at in (("one", made), ("two", altered)))
    assert all(digest(one / name) != digest(two / name) for name in same)


class Caught(Exception):
    """What the network was to be shown."""


def slices_of(made, row, where):
    """The slices that the network was to be trained on."""

    def stop(learned, *_):
        raise Caught(learned)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Caught) as caught:
        patch.setattr(paintings, "teach_privately", stop)
        trained(where, made, row)
    return caught.value.args[0]


def shown(made, row, where):
    """What a step shows of each patient; and the style of each, whose lacking classes have means too."""
    slices = slices_of(made, row, where)
    of = OfPatient(slices, 3)
    style = {case.patient: table.tobytes() for case, table in zip(slices.cases, slices.tables, strict=True)}
    return {
        who: [style[who], *(part.numpy().tobytes() for part in of(who, np.random.default_rng(1)))]
        for who in of.patients
    }


def test_what_is_shown_of_a_patient_depends_on_no_other(made, altered, public, tmp_path):
    ours, theirs = (shown(at, row_of(public), tmp_path / n) for n, at in (("a", made), ("b", altered)))
    assert ours.keys() == theirs.keys() == set(PEOPLE[:6])
    assert [who for who in ours if ours[who] != theirs[who]] == [PEOPLE[0]]
    # pooled clusters, means and groups of attributes do depend on others
    plain = dataclasses.replace(DIFFUSION, privacy=PRIVACY)
    ours, theirs = (shown(at, plain, tmp_path / n) for n, at in (("c", made), ("d", altered)))
    assert len([who for who in ours if ours[who] != theirs[who]]) > 1


def test_a_patient_of_a_group_that_the_source_lacks_is_untold(made, public, tmp_path):
    slices = slices_of(made, row_of(public), tmp_path)
    index = slices.index()
    _, _, groups = slices.take(index)
    sites = [slices.cases[number].attributes["site"] for number, _ in index]
    assert {(site, int(group)) for site, group in zip(sites, groups, strict=True)} == {("A", 1), ("B", 0)}


def test_an_anatomy_of_a_patient_is_refused_and_a_public_one_without_a_declaration(folder, tmp_path):
    stolen = shutil.copytree(folder, tmp_path / "stolen")
    config = json.loads((stolen / "config.json").read_text())
    config["heads"][0]["patient"] = PEOPLE[0]  # whom the card lists, but for the weights alone
    write_json(stolen / "config.json", config)
    with pytest.raises(LineageError, match=r"open-10 is of patient patient0, who is of no public source"):
        load(stolen)
    silent, card = shutil.copytree(folder, tmp_path / "silent"), cards.read(folder)
    cards.write(silent, dataclasses.replace(card, facts={}))
    with pytest.raises(LineageError, match="patient public:Somebody 10, whom its card does not list"):
        load(silent)


# --- the batch


def test_no_patient_is_a_donor_of_the_batch(batch, public):
    rows = read_table(batch)
    assert [row["donors"] for row in rows] == [""] * BATCH.cases
    behind = [row["public"].split(";") for row in rows]
    assert {who for names in behind for who in names} <= {f"Somebody {n}" for n in NUMBERS}
    table = {row["patient_id"]: row for row in read_table(public)}
    assert all(row["site"] == table[names[0]]["site"] for row, names in zip(rows, behind, strict=True))
    assert not any(name in (batch / "cases.csv").read_text() for name in PEOPLE)
    facts = cards.read(batch).facts
    assert facts["heads"] == len({names[0] for names in behind}) == 4
    assert facts["privacy"]["public"]["digest"] == digest(public) and "its images too" in facts["privacy"]["claim"]
    assert cards.read(batch).patients == tuple(PEOPLE[:6])


def test_the_batch_is_read_as_one_that_has_no_donors(batch):
    assert [entry.donors for entry in entries.synthetic(batch, "brain")] == [()] * BATCH.cases


# --- the source


def test_another_content_is_refused_with_both_digests(made, public, tmp_path):
    row = row_of(public)
    copy = shutil.copytree(public, tmp_path / "copy")
    (copy / "cases.csv").write_text((copy / "cases.csv").read_text().replace(",M,", ",F,"))
    moved = dataclasses.replace(
        row, privacy=dataclasses.replace(row.privacy, public=Public(str(copy), row.privacy.public.digest))
    )
    with pytest.raises(CohortError, match=rf"expected the digest {digest(public)}, found {digest(copy)}; bring"):
        trained(tmp_path, made, moved)
    assert not (tmp_path / "tiny").exists()


def test_a_missing_source_is_refused(made, public, tmp_path):
    row = row_of(shutil.copytree(public, tmp_path / "gone"))
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(CohortError, match=r"gone: the public source is missing; bring it there"):
        trained(tmp_path, made, row)


@pytest.mark.parametrize("number", [0, 7], ids=["of the training", "of the hold-out"])
def test_a_source_with_a_patient_of_the_study_is_refused(made, tmp_path, number):
    with pytest.raises(LineageError, match=rf"case open-{number} is the image of the study's patient patient{number}"):
        trained(tmp_path, made, row_of(folder_of((10, number), tmp_path / "public")))


def test_a_source_made_from_patients_is_refused(made, public, tmp_path):
    carded = shutil.copytree(public, tmp_path / "carded")
    (carded / "card.json").write_text("{}")
    with pytest.raises(LineageError, match="it has a card"):
        trained(tmp_path, made, row_of(carded))
    synthetic = folder_of((10, 11), tmp_path / "synthetic")
    write_table(synthetic, [one | {"donors": "patient0"} for one in read_table(synthetic)])
    with pytest.raises(LineageError, match="open-10: it was made from patients"):
        trained(tmp_path, made, row_of(synthetic))


def test_a_source_with_labels_of_its_own_is_refused(made, tmp_path):
    odd = folder_of((10, 11), tmp_path / "public")
    volume = VOLUME(11)
    write_case(odd, "open-11", dataclasses.replace(volume, label=np.where(volume.label == 2, 4, volume.label)))
    with pytest.raises(CohortError, match=r"open-11: expected labels \[1, 2\] and 0, got also \[4\]"):
        trained(tmp_path, made, row_of(odd))
