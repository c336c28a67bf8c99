import hashlib
import hmac

import pytest

from synthgate.cohort import identity
from synthgate.errors import CohortError


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv(identity.VARIABLE, raising=False)


def test_a_simulated_study_has_the_public_key_whatever_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv(identity.VARIABLE, "ab" * 32)
    assert identity.key_for("brain", True, root=tmp_path) == identity.PUBLIC_KEY
    assert not list(tmp_path.iterdir())


def test_a_key_is_made_once_and_kept_private(tmp_path):
    key = identity.key_for("brain", False, create=True, root=tmp_path)
    path = tmp_path / ".synthgate/brain.key"
    assert path.stat().st_mode & 0o777 == 0o600 and len(key) == 32
    assert (path.parent / ".gitignore").read_text() == "*\n"
    assert (
        identity.key_for("brain", False, create=True, root=tmp_path)
        == key
        == identity.key_for("brain", False, root=tmp_path)
    )
    assert identity.key_for("lung", False, create=True, root=tmp_path) != key


def test_a_missing_or_broken_key_is_told(tmp_path, monkeypatch):
    with pytest.raises(CohortError, match=r"brain\.key.*missing.*SYNTHGATE_KEY"):
        identity.key_for("brain", False, root=tmp_path)
    monkeypatch.setenv(identity.VARIABLE, "short")
    with pytest.raises(CohortError, match="at least 32 hexadecimal digits"):
        identity.key_for("brain", False, root=tmp_path)


def test_the_environment_overrides_the_file(tmp_path, monkeypatch):
    identity.key_for("brain", False, create=True, root=tmp_path)
    monkeypatch.setenv(identity.VARIABLE, "0f" * 16)
    assert identity.key_for("brain", False, root=tmp_path) == b"\x0f" * 16


def test_pseudonym_is_a_cut_hmac():
    expected = hmac.new(b"k", b"TCGA_CS_4941", hashlib.sha256).hexdigest()[:16]
    assert identity.pseudonym(b"k", "TCGA_CS_4941") == expected
    assert identity.pseudonym(b"other", "TCGA_CS_4941") != expected
