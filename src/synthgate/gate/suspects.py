"""The page that shows every case taken for a copy beside the patient it is nearest to. Internal: it shows patients."""

import base64
import html
from pathlib import Path

import imagecodecs
import numpy as np

from synthgate.files import write_text
from synthgate.gate import privacy
from synthgate.gate.trial import Trial

NAME = "suspects.html"
ENLARGED = 4
"""Screen pixels per thumbnail voxel."""


def report(trial: Trial, folder: Path) -> None:
    """Write NAME: case, pseudonym of the nearest training patient, and the middle slice of both, channel by channel."""
    found = privacy.suspects(trial)
    margin, limit, nearest = found.worst()
    parts = []
    for row in np.flatnonzero(found.called):
        theirs = trial.train.rows(trial.train.group == nearest[row])
        parts.append(
            f"<tr><td>{html.escape(str(trial.batch.case[row]))}</td><td>{html.escape(str(nearest[row]))}</td>"
            f"<td>{margin[row]:.2f} ({limit[row]:.2f})</td><td>{_picture(trial.batch.thumbnail[row])}</td>"
            f"<td>{_picture(theirs.thumbnail[0]) if len(theirs) else ''}</td></tr>"
        )
    body = "".join(parts) or '<tr><td colspan="5">No case was taken for a copy.</td></tr>'
    head = "<tr><th>case</th><th>nearest patient</th><th>margin (limit)</th><th>the case</th><th>the patient</th></tr>"
    write_text(
        folder / NAME,
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Suspected copies</title>'
        "<p>Internal: this page shows patients.</p>"
        f"<table>{head}{body}</table></html>\n",
    )


def _picture(thumbnail: np.ndarray) -> str:
    """The middle axial slice of uint8 [channel, x, y, z], channels side by side, as an image within the page."""
    slices = thumbnail[..., thumbnail.shape[-1] // 2]
    wide = np.concatenate(list(slices.transpose(0, 2, 1)[:, ::-1]), axis=1)
    data = base64.b64encode(imagecodecs.png_encode(np.ascontiguousarray(wide))).decode()
    height, width = (ENLARGED * side for side in wide.shape)
    return f'<img alt="middle slice" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
