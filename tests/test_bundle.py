import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny_release
import torch

from synthgate import cards
from synthgate.cohort.prepare import prepare_volume, restore
from synthgate.errors import ArtefactError, CohortError
from synthgate.files import digest
from synthgate.learning import regions, segmenter
from synthgate.registry import bundle
from synthgate.registry.bundle import Bundle


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return tiny_release.write(tmp_path_factory.mktemp("tiny") / "releases" / "brain")


@pytest.fixture
def copy(release, tmp_path):
    return shutil.copytree(release, tmp_path / "brain")


def test_segments_as_the_network_it_was_written_from(release):
    volume, row = tiny_release.volume(), tiny_release.row()
    prepared = prepare_volume(volume, tiny_release.CHANNELS, row.prepare)
    network = tiny_release.network().eval()
    probabilities = segmenter.predict(network, prepared.image.astype(np.float32), row.study.segmenter)
    expected = regions.to_label(restore(probabilities, prepared.geometry), tiny_release.REGIONS)

    label = Bundle.load(release).segment(volume)

    assert label.dtype == np.uint8 and label.shape == tiny_release.SHAPE
    assert np.array_equal(label, expected)
    assert set(np.unique(label)) == {0, 1, 2}, "the comparison would be empty"


def test_region_sizes_by_hand(release):
    loaded, volume = Bundle.load(release), tiny_release.volume()
    label = np.zeros(tiny_release.SHAPE, np.uint8)
    label[0, 0, :3], label[5, 5, 0] = 1, 2
    assert loaded.region_voxels(label) == {"WT": 4, "TC": 3}
    # 2 x 1.5 x 5 mm = 15 mm³ a voxel
    assert loaded.region_ml(label, volume) == {"WT": 0.06, "TC": 0.045}
    unknown = dataclasses.replace(volume, spacing_known=False)
    assert loaded.region_ml(label, unknown) == {"WT": None, "TC": None}


def test_missing_channel_is_a_cohort_error(release):
    volume = tiny_release.volume()
    with pytest.raises(CohortError, match="flair"):
        Bundle.load(release).segment(dataclasses.replace(volume, images={"t1": volume.images["t1"]}))


def test_same_inputs_same_bytes(release, tmp_path):
    again = tiny_release.write(tmp_path / "releases" / "brain")
    # the manifest names its source folders, which differ here; in a repository they do not
    assert digest(again / bundle.WEIGHTS) == digest(release / bundle.WEIGHTS)
    assert digest(again / bundle.SETTINGS) == digest(release / bundle.SETTINGS)


def test_order_of_regions_and_channels_survives(release):
    settings = Bundle.load(release).settings
    assert settings.channels == ("t1", "flair") and [name for name, _ in settings.regions] == ["WT", "TC"]
    assert settings.notice == "research use only"


def test_no_half_bundle_is_left(tmp_path, release):
    loaded = Bundle.load(release)
    broken = dataclasses.replace(loaded.manifest, validation={"dice": float("nan")})
    with pytest.raises(ValueError):
        bundle.write(tmp_path / "new", loaded.settings, b"", broken, cards.read(release))
    assert list(tmp_path.iterdir()) == []


def test_missing(tmp_path):
    with pytest.raises(ArtefactError, match="dvc"):
        Bundle.load(tmp_path / "none")


@pytest.mark.parametrize("name", ["model.safetensors", "bundle.json", "manifest.json", "card.json"])
def test_half_written(copy, name):
    (copy / name).unlink()
    with pytest.raises(ArtefactError):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "bundle.json", "manifest.json", "card.json"])
def test_truncated(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtefactError):
        Bundle.load(copy)


def test_one_flipped_bit_of_the_weights(copy):
    content = bytearray((copy / bundle.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copy / bundle.WEIGHTS).write_bytes(content)
    with pytest.raises(ArtefactError, match="card"):
        Bundle.load(copy)


def test_additional_file(copy):
    (copy / "model.pt").write_bytes(b"")
    with pytest.raises(ArtefactError):
        Bundle.load(copy)


def test_other_weights_under_a_new_card(copy):
    """A forger who rewrites the card still has to rewrite the manifest, and with it the id."""
    (copy / bundle.WEIGHTS).write_bytes(bundle.weights_of(tiny_release.network(1)))
    cards.write(copy, cards.read(copy))
    with pytest.raises(ArtefactError, match="manifest"):
        Bundle.load(copy)


def test_weights_of_another_network(copy):
    wide = dataclasses.replace(tiny_release.row().study.segmenter, features=(8, 16, 16))
    value = json.loads((copy / bundle.SETTINGS).read_text())
    value["network"]["features"] = list(wide.features)
    (copy / bundle.SETTINGS).write_text(json.dumps(value))
    cards.write(copy, cards.read(copy))
    with pytest.raises(ArtefactError, match="does not fit"):
        Bundle.load(copy)


def test_settings_with_an_unknown_key(copy):
    value = json.loads((copy / bundle.SETTINGS).read_text())
    value["network"]["depth"] = 3
    (copy / bundle.SETTINGS).write_text(json.dumps(value))
    cards.write(copy, cards.read(copy))
    with pytest.raises(ArtefactError, match="depth"):
        Bundle.load(copy)


def test_a_pickle_is_not_read(copy):
    torch.save(tiny_release.network().state_dict(), copy / bundle.WEIGHTS)
    cards.write(copy, cards.read(copy))
    with pytest.raises(ArtefactError):
        Bundle.load(copy)
