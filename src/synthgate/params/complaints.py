"""What is wrong with a parameter file, in words."""

from typing import Any


def complaint(error: Any, root: type) -> str:
    """One wrong key in words; `root` is the dataclass at the top of the file."""
    place = ".".join(map(str, error["loc"])) or "(top level)"
    if error["loc"] and error["loc"][-1] in ("int", "literal['all']"):
        place = ".".join(map(str, error["loc"][:-1]))
        return f"{place}: expected a whole number, or all, got {str(error['input'])[:80]!r}"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        valid = _siblings(error["loc"], root)
        return f"{place}: unknown key; remove it, or see `synthgate params` for the valid ones{valid}"
    if error["type"] == "missing":
        return f"{place}: missing key; add it (src/synthgate/params/ says what it means)"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}, got {str(error['input'])[:80]!r}"


def _siblings(loc: tuple[Any, ...], root: type) -> str:
    """The valid keys at the place of an unknown one, read from the dataclasses along the path."""
    kind: Any = root
    for step in loc[:-1]:
        field = getattr(kind, "__dataclass_fields__", {}).get(step)
        if field is not None:
            kind = field.type
        args = getattr(kind, "__args__", ())
        if field is not None and args and getattr(kind, "__origin__", None) is not None:
            kind = args[-1]
    names = getattr(kind, "__dataclass_fields__", {})
    return f" here: {', '.join(names)}" if names else ""
