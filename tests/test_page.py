"""The page of findings: everything is on it, escaped, and it calls nobody."""

import re

from synthgate.gate import page
from synthgate.gate.verdict import Finding, decide


def written(folder, *findings):
    page.write(decide("brain", "a<b", "realistic", findings, {"cases": 9}), folder)
    return (folder / page.NAME).read_text()


def test_every_finding_is_shown_with_its_null_its_limit_and_what_it_could_have_seen(tmp_path):
    one = Finding(
        "drift", "noise", "failed", "rejects", "Noisier <than> they.", 0.5, None, 0.3, "maxT", (), (0.1, 0.2), 0.17
    )
    two = Finding("privacy", "membership", "undefined", "informs", "Not known.")
    text = written(tmp_path, one, two)
    for part in ("drift: noise", "privacy: membership", "0.1 to 0.2", "0.17", "Noisier &lt;than&gt; they.", "a&lt;b"):
        assert part in text, part
    assert text.count("<svg") == 1, "a finding without a null has no strip"
    assert not re.search(r"https?:|<script|<link", text)
    assert text == written(tmp_path, one, two)


def test_the_strip_orders_null_value_and_limit():
    finding = Finding("drift", "noise", "passed", "rejects", "", 0.5, None, 0.8, "", (), (0.0, 0.25))
    strip = page._strip(finding)
    value, limit = (float(re.search(p, strip)[1]) for p in (r'cx="([\d.]+)"', r'x="([\d.]+)" width="1"'))
    null = [float(x) for x in re.search(r'<rect x="([\d.]+)" y="4" width="([\d.]+)"', strip).groups()]
    assert null[0] < null[0] + null[1] < value < limit <= page.WIDE


def test_equal_numbers_do_not_divide_by_nothing():
    assert "<svg" in page._strip(Finding("drift", "x", "passed", "rejects", "", 0.0, None, 0.0, "", (), (0.0, 0.0)))
