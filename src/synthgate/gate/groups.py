"""Who the cases are: attributes as a few named groups, by the values that the reference patients have."""

import json
from collections.abc import Mapping

import numpy as np

from synthgate.gate.measured import Measured

MOST = 8
"""Distinct numbers above which an attribute is cut into bands."""
BANDS = 3
UNKNOWN = ""
OTHER = "other"


def attributes_of(table: Measured) -> list[Mapping[str, str]]:
    """The attributes of each case, as its table states them."""
    return [json.loads(text) for text in table.attributes]


def groups(name: str, batch: Measured, reference: Measured) -> tuple[np.ndarray, np.ndarray]:
    """The group of each case of batch and reference in attribute `name`; `UNKNOWN` where it states none.

    Numbers become bands that hold equally many reference patients; a value that no reference patient has is `OTHER`.
    """
    ours, real = (
        np.array([one.get(name, UNKNOWN) for one in attributes_of(t)], dtype=object) for t in (batch, reference)
    )
    numbers = np.array([v for v in (_number(text) for text in real) if v is not None])
    if len(np.unique(numbers)) > MOST:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BANDS + 1)[1:-1]))
        return (np.array([_band(_number(text), edges) for text in part], dtype=object) for part in (ours, real))  # type: ignore[return-value]
    known = set(real) | {UNKNOWN}
    return np.array([text if text in known else OTHER for text in ours], dtype=object), real


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _band(value: float | None, edges: np.ndarray) -> str:
    if value is None:
        return UNKNOWN
    place = int(np.searchsorted(edges, value, side="left"))
    if place == 0:
        return f"up to {edges[0]:g}"
    return f"above {edges[place - 1]:g}" + (f" up to {edges[place]:g}" if place < len(edges) else "")
