"""What is wrong with a parameter file, in words."""

from typing import Any

from synthgate.params.making import KINDS


def complaint(error: Any, root: type) -> str:
    """One wrong key in words; `root` is the dataclass at the top of the file."""
    told = _told(error["loc"])
    place = ".".join(map(str, told)) or "(top level)"
    if told and told[-1] in ("int", "literal['all']"):
        place = ".".join(map(str, told[:-1]))
        return f"{place}: expected a whole number, or all, got {str(error['input'])[:80]!r}"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        valid = _siblings(error["loc"], root)
        return f"{place}: unknown key; remove it, or see `synthgate params` for the valid ones{valid}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{place}.kind: expected one of {', '.join(KINDS)}; see `synthgate params`, got {error['input']!r:.80}"
    if error["type"] == "missing":
        return f"{place}: missing key; add it (src/synthgate/params/ says what it means)"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}, got {str(error['input'])[:80]!r}"


def _told(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """The place without a generator's kind, which pydantic puts between the row's name and its key."""
    return (*loc[:2], *loc[3:]) if loc[:1] == ("generators",) and loc[2:3] and loc[2] in KINDS else loc


def _siblings(loc: tuple[Any, ...], root: type) -> str:
    """The valid keys at the place of an unknown one, read from the dataclasses along the path."""
    kind: Any = root
    for step in loc[:-1]:
        if step in KINDS and not hasattr(kind, "__dataclass_fields__"):
            kind = KINDS[step]
            continue
        field = getattr(kind, "__dataclass_fields__", {}).get(step)
        if field is not None:
            kind = field.type
        args: tuple[Any, ...] = getattr(kind, "__args__", ())
        if type(None) in args:  # an optional section
            kind = args[0]
        if field is not None and args and getattr(kind, "__origin__", None) is not None:
            kind = args[-1]
    names = getattr(kind, "__dataclass_fields__", {})
    return f" here: {', '.join(names)}" if names else ""
