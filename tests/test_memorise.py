"""The pure parts of bench/memorise.py and bench/samples.py."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from bench import memorise, samples
from synthgate.gate.verdict import Finding, Verdict


def verdict(outcome, decision, thinned=()):
    finding = Finding("privacy", "image_copies", outcome, "thins", "As near as a copy.")
    return Verdict("brain", "b", "realistic", decision, 0.0, (), (finding,), {}, thinned)


def curve(folder, *nearness):
    (folder / "curves").mkdir(parents=True)
    rows = [f"{10 * (i + 1)},0.1,nan,{value},{0.5 * value**20:g}" for i, value in enumerate(nearness)]
    text = "\n".join(["step,kernel_distance,one_nn_accuracy,nearness,chance", *rows, ""])
    (folder / "curves" / "checkpoints.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("outcome", "decision", "thinned", "betrays"),
    [
        ("failed", "rejected", (), True),
        ("failed", "limited", ("case",), True),
        ("failed", "limited", (), False),
        ("passed", "rejected", (), False),
    ],
)
def test_a_batch_is_refused_for_privacy_where_privacy_failed_and_it_mattered(
    tmp_path, outcome, decision, thinned, betrays
):
    found = memorise.told(curve(tmp_path, 1.0, 0.79), 0.8, verdict(outcome, decision, thinned))
    assert found["betrays"] is betrays and found["stopped"] is True and found["history"][1]["step"] == 20


def test_what_has_to_be_shown(tmp_path):
    sound = memorise.told(curve(tmp_path / "a", 1.0, 0.95), 0.8, verdict("passed", "limited"))
    stopped = memorise.told(curve(tmp_path / "b", 1.0, 0.7), 0.8, verdict("passed", "limited"))
    refused = memorise.told(curve(tmp_path / "c", 0.9), 0.8, verdict("failed", "rejected"))
    asked = {"default": sound, "guarded": stopped, "all": memorise.told(tmp_path / "a", 0.8), "unguarded": refused}
    assert memorise.shown_by(asked)
    assert not memorise.shown_by(asked | {"default": stopped})
    assert not memorise.shown_by(asked | {"default": refused})
    assert not memorise.shown_by(asked | {"all": stopped})
    assert not memorise.shown_by(asked | {"guarded": sound})
    json.dumps(asked, allow_nan=False)  # one unseen patient has no 1-NN accuracy
    picture = ElementTree.fromstring(memorise.svg(asked, 0.8))
    assert len(picture.findall("{http://www.w3.org/2000/svg}circle")) == 7
    table = memorise.markdown(asked, 0.8, memorise.Settings())
    assert "| all | 20 | 0.95 | 0.2 | no | – | 0 | – |" in table
    assert "| unguarded | 10 | 0.90 | 0.06 | no | rejected | 0 | As near as a copy. |" in table


def test_a_strip_shows_the_slice_with_the_largest_lesion_front_upwards():
    image, label = np.zeros((2, 3, 4, 5), np.float32), np.zeros((3, 4, 5), np.uint8)
    label[0, 0, 1] = 1
    label[:2, 3, 2] = 4
    image[1, :, 3, 2] = samples.BRIGHTEST
    strip = samples.strip(image, label, 4)
    assert strip.shape == (4, 9)
    np.testing.assert_array_equal(strip[0], [0, 0, 0, 1, 1, 1, 1, 1, 0])
    assert not strip[1:].any()
