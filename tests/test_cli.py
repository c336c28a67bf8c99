"""Exit codes: a verdict's, and 2 for whatever is none."""

import os
import subprocess
import sys

import pytest

from synthgate import cli, params
from synthgate.errors import ParamsError


@pytest.mark.parametrize(("error", "said"), [
    (ParamsError("no such row"), "synthgate: no such row"),
    (ZeroDivisionError("oops"), "fault of synthgate"),
    (BrokenPipeError("not of standard output"), "fault of synthgate"),
])  # fmt: skip
def test_an_error_of_any_kind_is_not_the_exit_code_of_a_rejection(monkeypatch, capsys, error, said):
    def fails():
        raise error

    monkeypatch.setattr(params, "load", fails)
    assert cli.main(["gate", "--study", "brain", "--batch", "b", "--json"]) == 2
    out, shown = capsys.readouterr()
    assert not out and said in shown


def test_out_below_a_file_is_told_before_anything_is_judged(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["gate", "--study", "brain", "--batch", "b", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "lies below a file" in capsys.readouterr().err


def test_a_reader_who_has_enough_is_no_fault():
    reader, writer = os.pipe()
    os.close(reader)
    told = "import sys; from synthgate import cli; sys.exit(cli.main(['verdict', '--schema']))"
    ran = subprocess.run([sys.executable, "-c", told], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert ran.returncode == 2 and not ran.stderr
