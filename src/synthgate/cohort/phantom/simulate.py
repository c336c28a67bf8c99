"""The stage `phantom`: simulate patients and write them as a cohort folder."""

from pathlib import Path

import numpy as np

from synthgate.cohort.case import Volume
from synthgate.cohort.phantom import anatomy, contrast, lesions, scanner
from synthgate.cohort.phantom.parameters import PatientParameters, draw
from synthgate.cohort.phantom.template import CITATION, NOTICE, template
from synthgate.errors import CohortError, ParamsError
from synthgate.files import replacing, write_json
from synthgate.progress import tracked

STUDIES = ("brain",)
TERMS = ("simulated by synthgate, no person was imaged: Apache-2.0", NOTICE, CITATION)


def render(patient: PatientParameters) -> Volume:
    """The volume of a drawn patient: channels t1, t1ce, t2, flair and the label on `anatomy.GRID`."""
    rng = np.random.default_rng(patient.seed)
    healthy = anatomy.grow(patient, template(), rng)
    label = lesions.grow(patient.lesion, healthy, rng)
    signal = contrast.signal(patient, healthy, label, rng)
    white = dict(zip(contrast.CHANNELS, contrast.SIGNAL["white"], strict=True))
    images = scanner.scan(signal, healthy.brain, white, scanner.SCANNERS[patient.site], rng)
    return Volume(images, label, anatomy.GRID.affine)


def patient(seed: int, index: int) -> tuple[Volume, dict[str, str]]:
    """Patient `index` of `seed` and the attributes for `cases.csv`; depends on these two numbers alone."""
    drawn = draw(np.random.default_rng([seed, index]))
    attributes = {
        "case_id": f"phantom-{index:05d}-1",
        "patient_id": f"PHANTOM-{index:05d}",
        "site": drawn.site,
        "sex": drawn.sex,
        "age": str(drawn.age),
    }
    return render(drawn), attributes


def write(out: Path, study: str, patients: int, seed: int) -> None:
    """Write a simulated cohort folder, whole or not at all.

    Raises ParamsError for a study without a phantom, fewer than one patient or a negative seed, CohortError where `out`
    holds something already.
    """
    from synthgate.cohort.folder import write_case, write_table

    if study not in STUDIES:
        raise ParamsError(f"--study: expected one of {', '.join(STUDIES)}, got {study!r}")
    if patients < 1:
        raise ParamsError(f"--patients: expected at least 1, got {patients}")
    if seed < 0:
        raise ParamsError(f"--seed: expected 0 or more, got {seed}")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(
            f"{out}: expected a new or empty folder, it holds something already; remove it or name another"
        )
    with replacing(out) as beside:
        rows = []
        for index in tracked(range(patients), patients, "phantom", "patients"):
            volume, attributes = patient(seed, index)
            write_case(beside, attributes["case_id"], volume)
            rows.append(attributes)
        write_table(beside, rows)
        write_json(beside / "source.json", {"simulated": True, "labels": [1, 2, 4], "terms": list(TERMS), "flags": {}})
