"""The page that shows every finding: its value against its null and its limit, and what it could have seen."""

import html
from pathlib import Path

from synthgate.files import write_text
from synthgate.gate.verdict import Finding, Verdict

NAME = "findings.html"
WIDE = 160
"""Pixels of the strip that a value is drawn on."""
HEAD = ("finding", "what was found", "outcome", "value, null and limit", "value", "null, 90 %", "limit",
        "could have seen", "where the limit comes from")  # fmt: skip
STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:3px 8px;text-align:left;"
    "vertical-align:top;border-bottom:1px solid #ddd}.failed,.undefined{color:#a00}"
)


def write(verdict: Verdict, folder: Path) -> None:
    """Write NAME into the folder. Calls nobody, and is the same bytes for the same verdict."""
    parts = [
        f"<h1>{html.escape(verdict.batch)}: {verdict.verdict}</h1>",
        f"<ul>{''.join(f'<li>{html.escape(reason)}</li>' for reason in verdict.reasons)}</ul>",
        "<p>Grey: where nine in ten values lie when nothing is wrong. Red: the limit. Black: this batch. “Could have "
        "seen”: the smallest departure that four in five such batches would have failed by.</p><table>",
        f"<tr>{''.join(f'<th>{name}</th>' for name in HEAD)}</tr>",
        *map(_row, verdict.findings),
        "</table>",
    ]
    top = f'<meta charset="utf-8"><title>Findings on {html.escape(verdict.batch)}</title><style>{STYLE}</style>'
    write_text(folder / NAME, f'<!doctype html><html lang="en">{top}{"".join(parts)}</html>\n')


def _row(finding: Finding) -> str:
    null = "" if finding.null is None else f"{finding.null[0]:.3g} to {finding.null[1]:.3g}"
    cells = [
        f"{finding.axis}: {html.escape(finding.name)}",
        html.escape(finding.sentence),
        f'<span class="{finding.outcome}">{finding.outcome.replace("_", " ")}</span> ({finding.weight})',
        _strip(finding),
        _number(finding.value),
        null,
        _number(finding.limit),
        _number(finding.smallest),
        html.escape(finding.origin),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _strip(finding: Finding) -> str:
    """The value on a line, with its null and its limit; nothing where there is no null."""
    if finding.value is None or finding.null is None:
        return ""
    marks = [finding.value, *finding.null, *([] if finding.limit is None else [finding.limit])]
    low, span = min(marks), (max(marks) - min(marks)) or 1.0

    def at(value: float) -> float:
        return 4 + (WIDE - 8) * (value - low) / span

    first, last = map(at, finding.null)
    limit = "" if finding.limit is None else f'<rect x="{at(finding.limit):.1f}" width="1" height="16" fill="#a00"/>'
    null = f'<rect x="{first:.1f}" y="4" width="{max(last - first, 1):.1f}" height="8" fill="#ccc"/>'
    value = f'<circle cx="{at(finding.value):.1f}" cy="8" r="3"/>'
    return f'<svg width="{WIDE}" height="16">{null}{limit}{value}</svg>'
