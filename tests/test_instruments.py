import numpy as np
import pytest
import tiny_store
from tiny_store import CHANNELS, REGIONS

from synthgate.files import read_json
from synthgate.gate import instruments
from synthgate.learning.regions import dice, to_regions
from synthgate.params import Calibrate, Encoder
from synthgate.scratch import Scratch

ENCODER = Encoder(steps=2, batch=4, learning_rate=0.003, width=4, temperature=0.1)
PARAMS = Calibrate(folds=2, segmenter=tiny_store.segmenter(steps=4), convolution_features=12, encoder=ENCODER, seed=0)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """The instruments of the tiny store, and the table that making them returned."""
    home = tmp_path_factory.mktemp("instruments")
    with Scratch.opened("calibrate", {}, root=home / "scratch") as scratch:
        table = instruments.make(tiny, REGIONS, PARAMS, scratch, home / "judge")
    return home, table, instruments.load(home / "judge", len(CHANNELS), REGIONS, PARAMS)


def test_development_patients_are_measured_and_nobody_else_is(made):
    _, table, tools = made
    assert table.split.tolist() == ["train"] * 4 + ["validation"]
    assert "fay" not in table.people.tolist()
    assert np.array_equal(tools.reference.descriptors, table.descriptors, equal_nan=True)


def test_everybody_is_judged_by_the_fold_that_did_not_see_them(made, tiny):
    home, table, tools = made
    fold_of = read_json(home / "judge" / "folds.json")
    assert set(fold_of) == set(table.people.tolist()) and set(fold_of.values()) == {0, 1}
    for row, case in enumerate(tiny.select(*instruments.DEVELOPMENT)):
        alone = tools.judge.networks[fold_of[case.patient]]
        only = type(tools.judge)([alone, alone], fold_of, PARAMS.segmenter)
        found, truth = only.predict(tiny.image(case), ()) > 0.5, to_regions(tiny.label(case), REGIONS)
        assert table.dice[row] == pytest.approx([dice(p, t) for p, t in zip(found, truth, strict=True)])


def test_a_batch_is_measured_as_the_patients_were_whoever_is_behind_it(made, tmp_path):
    _, table, tools = made
    people = {"ann": "synthetic", "bob": "synthetic"}
    store = tiny_store.make(tmp_path, tiny_store.entries(people, donors=("ann", "someone else")))
    with Scratch.opened("gate", {}, root=tmp_path / "scratch") as scratch:
        arguments = (store, store.cases, REGIONS, tools.spaces, tools.judge, scratch, "batch")
        found = instruments.measure_all(*arguments)
        again = instruments.measure_all(*arguments)
    assert found.case.tolist() == ["case-ann", "case-bob"]
    assert np.array_equal(found.convolution[0], table.convolution[0]), "the same image in the same space"
    assert np.isfinite(found.dice).all()
    assert np.array_equal(found.dice, again.dice)
