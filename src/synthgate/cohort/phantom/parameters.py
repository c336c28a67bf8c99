"""What is drawn for a patient before anything is rendered: cheap, replayable, and enough to render from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["ring", "solid", "plain", "diffuse", "none"]

KINDS: dict[Kind, float] = {"ring": 0.56, "solid": 0.14, "plain": 0.14, "diffuse": 0.12, "none": 0.04}
"""Share of patients per kind of lesion.

ring: necrosis within an enhancing rim, oedema around; solid: enhancing nodule with little or no necrosis; plain: core
without enhancement; diffuse: oedema-like infiltration alone; none: no lesion.
"""
SITES = ("A", "B", "C")
SMALLEST_ML, LARGEST_ML = 0.5, 120.0


@dataclass(frozen=True)
class LesionParameters:
    """One glioma; `kind` none has no volume."""

    kind: Kind
    volume_ml: float
    """Volume of the whole lesion."""
    core: float
    """Share of the whole lesion that is core (labels 1 and 4)."""
    rim_mm: float
    """Mean thickness of the enhancing rim."""
    place: float
    """Where it starts: rank in 0..1 among the places of the template."""
    roughness: float
    """Standard deviation of the log distance field: 0 is a ball."""
    mass: float
    """Mass effect: how far tissue at the lesion's centre was pushed outwards, as a share of its distance from there."""
    oedema: float
    """Brightness of the oedema, 1 is usual."""


@dataclass(frozen=True)
class PatientParameters:
    """Everything `render` needs: the same parameters give the same volume."""

    site: str
    sex: str
    age: int
    size: tuple[float, float, float]
    """Head size along x, y, z relative to the template."""
    tilt_deg: tuple[float, float, float]
    """Rotation about x, y, z."""
    shift_mm: tuple[float, float, float]
    atrophy: float
    """0 in youth, about 1 at 85: widens ventricles and sulci."""
    hyperintensity: float
    """Load of age-related white-matter hyperintensities, 0..1."""
    lesion: LesionParameters
    seed: int
    """Seed of the random fields."""


def draw(rng: np.random.Generator) -> PatientParameters:
    """Draw a patient."""
    site = str(rng.choice(SITES))
    sex = str(rng.choice(["F", "M"]))
    age = int(np.clip(round(rng.normal(56, 15)), 19, 88))
    head = rng.normal(0.92 if sex == "M" else 0.89, 0.018)
    ageing = np.clip((age - 25) / 60, 0, 1)
    return PatientParameters(
        site=site,
        sex=sex,
        age=age,
        size=_three(head * np.exp(rng.normal(0, 0.02, 3))),
        tilt_deg=_three(rng.normal(0, (3.5, 2.0, 2.5))),
        shift_mm=_three(rng.normal(0, 1.5, 3)),
        atrophy=float(np.clip(ageing + rng.normal(0, 0.22), -0.2, 1.2)),
        hyperintensity=float(np.clip(ageing**2 * rng.lognormal(0, 0.6), 0, 1.2)),
        lesion=_draw_lesion(rng),
        seed=int(rng.integers(2**62)),
    )


def _draw_lesion(rng: np.random.Generator) -> LesionParameters:
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    middle_ml = {"ring": 32, "solid": 9, "plain": 28, "diffuse": 22, "none": 0}[kind]
    volume = np.clip(middle_ml * rng.lognormal(0, 0.95), SMALLEST_ML, LARGEST_ML)
    return LesionParameters(
        kind=kind,
        volume_ml=0.0 if kind == "none" else float(volume),
        core={"diffuse": 0.0, "none": 0.0}.get(kind, float(rng.uniform(0.18, 0.65))),
        rim_mm=float(rng.uniform(2.0, 5.0)),
        place=float(rng.uniform()),
        roughness=float(rng.uniform(0.14, 0.30)),
        mass=float(rng.uniform(0.10, 0.50)) if kind in ("ring", "solid", "plain") else float(rng.uniform(0.0, 0.15)),
        oedema=float(rng.uniform(0.75, 1.1)),
    )


def _three(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
