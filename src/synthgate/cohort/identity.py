"""Pseudonyms: patients appear outside `data/` only under these."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from synthgate.errors import CohortError
from synthgate.files import write_text

PUBLIC_KEY = b"synthgate phantom: nobody is behind these pseudonyms"
"""Key of simulated cohorts, whose patients do not exist."""
VARIABLE = "SYNTHGATE_KEY"
PUBLIC = "public:"
"""Begins the name of somebody in a public source, and no pseudonym."""


def key_for(study: str, simulated: bool, *, create: bool = False, root: Path = Path()) -> bytes:
    """The key of a study's pseudonyms.

    A simulated study has the public key. Any other has the site's own: the environment variable SYNTHGATE_KEY where it
    is set, else the file `.synthgate/<study>.key` (both at least 32 hexadecimal digits). `create` makes the file, with
    mode 0600, where neither exists. Raises CohortError where there is no key, or a malformed one.
    """
    if simulated:
        return PUBLIC_KEY
    path = root / ".synthgate" / f"{study}.key"
    if text := os.environ.get(VARIABLE):
        return _parsed(text, f"the environment variable {VARIABLE}")
    if create and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(path.parent / ".gitignore", "*\n")  # whatever the repository ignores, the key stays out of it
        # O_EXCL: of two that adopt at once, one makes the key and the other fails
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
    try:
        return _parsed(path.read_text(encoding="ascii", errors="replace"), str(path))
    except FileNotFoundError:
        raise CohortError(
            f"{path}: the key of this study's pseudonyms is missing; bring it from where the site keeps it, "
            f"or set {VARIABLE}. Without it nobody can tell which patients were in the hold-out"
        ) from None


def _parsed(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) < 16:
        raise CohortError(
            f"{where}: expected at least 32 hexadecimal digits; restore the key from where the site keeps it"
        )
    return key


def pseudonym(key: bytes, identifier: str) -> str:
    """HMAC-SHA256 of a patient's identifier, its first 16 hexadecimal digits."""
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:16]
