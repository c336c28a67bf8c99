"""Severity curves of `prove.py` as a picture: share of batches judged right by severity, a panel per graded kind."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench import report
from bench.defects import ENOUGH

WIDE, HIGH, EDGE, ACROSS = 170, 120, 26, 4
"""Pixels of a panel, of its margins, and panels in a row."""


def svg(defects: Mapping[str, Mapping[str, Any]]) -> str:
    """One panel for each kind that was planted at several severities; bars are 95 % intervals, the line is ENOUGH."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in defects.values():
        kinds.setdefault(row["kind"], []).append(row)
    graded = {kind: sorted(rows, key=report.strength) for kind, rows in kinds.items() if len(rows) > 1}
    panels = [
        f'<g transform="translate({WIDE * (i % ACROSS)},{HIGH * (i // ACROSS)})">{_panel(kind, rows)}</g>'
        for i, (kind, rows) in enumerate(sorted(graded.items()))
    ]
    rows_of = -(-len(panels) // ACROSS)
    size = f'width="{WIDE * ACROSS}" height="{HIGH * rows_of}"'
    style = "<style>text{font:9px sans-serif}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(panels)}</svg>\n'


def _panel(kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Severities from the least noticeable on, evenly apart; each with its share and interval."""
    step = (WIDE - 2 * EDGE) / (len(rows) - 1)

    def down(share: float) -> float:
        return EDGE + (1 - share) * (HIGH - 2 * EDGE)

    parts = [f'<text x="{EDGE}" y="{EDGE - 10}">{report.told(kind)}</text>']
    for share in (0.0, ENOUGH, 1.0):
        parts.append(f'<path d="M{EDGE} {down(share):.1f}H{WIDE - EDGE}" stroke="#ccc"/>')
    points = []
    for index, row in enumerate(rows):
        x, right = EDGE + index * step, row["right"]
        points.append(f"{x:.1f},{down(right['share']):.1f}")
        parts.append(f'<path d="M{x:.1f} {down(right["low"]):.1f}V{down(right["high"]):.1f}" stroke="#888"/>')
        parts.append(f'<text x="{x:.1f}" y="{HIGH - 10}" text-anchor="middle">{row["severity"]:g}</text>')
    return "".join([*parts, f'<polyline points="{" ".join(points)}" fill="none" stroke="#036" stroke-width="1.5"/>'])
