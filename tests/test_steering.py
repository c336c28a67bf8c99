"""The pure parts of bench/steering.py."""

import numpy as np
import pytest

from bench import steering
from bench.steering import LEFT, PLAIN, TWO, VOLUME, Look
from synthgate.generators.shape import Shape

NOBODY = np.zeros(1)


def look(seen, told, head="a", split="validation"):
    return Look(seen, told, NOBODY, (head,), {}, split)


def shape(whole=1.0, inner=0.0, places=(("left", "frontal"),)):
    return Shape({"WT": whole, "TC": inner, "ET": inner}, places)


def test_questions_are_answered_by_the_shape():
    assert VOLUME.ask(shape(3.0), 0) and not VOLUME.ask(shape(3.1), 0)
    assert LEFT.ask(shape(), 0) and LEFT.ask(shape(places=()), 0) is None
    assert PLAIN.ask(shape(inner=0.2), 0.3) and not PLAIN.ask(shape(inner=0.2), 0.1)
    assert TWO.ask(shape(places=(("left", "deep"),) * 2), 0) and not TWO.ask(shape(), 0)


def test_the_judge_model_is_believed_from_the_volume_that_tells_best():
    known = [look(shape(inner=seen), shape(inner=true)) for seen, true in ((0.0, 0), (0.2, 0), (0.5, 2), (0.9, 1))]
    assert steering.threshold(known) == 0.5
    assert steering.right(PLAIN, known, 0.5)["share"] == 1 and steering.right(PLAIN, known, 0.1)["share"] == 0.75


def test_nobody_is_asked_where_there_is_no_answer():
    known = [look(shape(), shape()), look(shape(places=()), shape()), look(shape(), shape(places=()))]
    found = steering.right(LEFT, known, 0)
    assert (found["share"], found["of"]) == (0.5, 2)


def test_a_head_counts_once_in_an_interval():
    many, one = [look(shape(), shape(), str(n)) for n in range(20)], [look(shape(), shape())] * 20
    assert steering.share([True] * 20, many)["low"] > steering.share([True] * 20, one)["low"]
    assert steering.share([True, None, False, True], many[:4])["share"] == 0.5
    values = list(np.arange(20.0))
    assert steering.middle(values, one)["low"] == steering.middle(values, one)["median"] == pytest.approx(9.5)
    found = steering.middle(values, many)
    assert found["low"] < 9.5 < found["high"] and found["of"] == 20


def test_every_wish_is_of_what_the_shipped_study_has():
    assert {name for name, (_, questions, attributes) in steering.WISHES.items() if questions or attributes} == set(
        steering.WISHES
    )
    row = {"wish": "w", "measure": "m", "files": 1.0, "steered": {"share": 1.0, "low": 0.9, "high": 1.0},
           "unsteered": {"share": 0.5, "low": 0.4, "high": 0.6}, "real_is": "right",
           "real": {"share": 1.0, "low": 0.9, "high": 1.0}}  # fmt: skip
    text = steering.markdown({"rows": [row], "refused": "because"}, steering.Settings())
    assert "| w | m | 100% | 100.0% [90.0%, 100.0%] | 50.0% [40.0%, 60.0%] | – | 100.0%" in text and "because" in text
