"""From tissues to signal: what each tissue looks like in each channel, with soft lesion borders."""

import numpy as np
from scipy import ndimage

from synthgate.cohort.phantom import lesions
from synthgate.cohort.phantom.anatomy import GRID, Anatomy
from synthgate.cohort.phantom.fields import Field, sigmoid, smooth_noise
from synthgate.cohort.phantom.parameters import PatientParameters

CHANNELS = ("t1", "t1ce", "t2", "flair")

# Relative signal, white matter of T1 = 1. Fluid is dark on T1 and FLAIR and bright on T2; water (oedema) darkens T1
# and brightens T2 and FLAIR; contrast agent brightens only T1ce, where the blood-brain barrier leaks.
SIGNAL: dict[str, tuple[float, float, float, float]] = {
    #                t1    t1ce  t2    flair
    "fluid":        (0.24, 0.26, 1.30, 0.16),
    "cortex":       (0.66, 0.70, 0.66, 0.66),
    "nuclei":       (0.78, 0.82, 0.55, 0.58),
    "white":        (1.00, 1.00, 0.46, 0.50),
    "aged":         (0.80, 0.82, 0.74, 0.92),
    "oedema":       (0.66, 0.68, 0.90, 0.98),
    "necrosis":     (0.42, 0.46, 1.10, 0.62),
    "enhancing":    (0.64, 1.52, 0.76, 0.86),
    "vessel":       (0.50, 1.35, 0.40, 0.35),
}  # fmt: skip


def signal(
    patient: PatientParameters, anatomy: Anatomy, label: np.ndarray, rng: np.random.Generator
) -> dict[str, Field]:
    """The four channels [x, y, z] as an ideal scanner would see them, 0 outside the brain."""
    parts = _parts(patient, anatomy, label, rng)
    means = np.array([SIGNAL[name] for name in parts]) * np.exp(rng.normal(0, 0.035, (len(parts), len(CHANNELS))))
    stack = np.stack(list(parts.values()))
    channels = np.tensordot(means.T.astype(np.float32), stack, axes=1)
    # tissue is not uniform: a slow and a fine texture, partly shared by the channels
    slow, fine = smooth_noise(rng, GRID, 9.0), smooth_noise(rng, GRID, 2.5)
    for channel in channels:
        own = 0.018 * slow + 0.022 * fine + 0.018 * smooth_noise(rng, GRID, 3.0)
        channel *= 1 + own
    return dict(zip(CHANNELS, channels, strict=True))


def _parts(
    patient: PatientParameters, anatomy: Anatomy, label: np.ndarray, rng: np.random.Generator
) -> dict[str, Field]:
    """Fractions of everything that has a signal of its own; they sum to 1 inside the brain."""
    aged = anatomy.white * _hyperintensity(patient, anatomy, rng)
    vessel = anatomy.fluid * sigmoid((smooth_noise(rng, GRID, 1.6) - 2.1) / 0.2)
    healthy = {
        "fluid": anatomy.fluid - vessel,
        "cortex": anatomy.cortex,
        "nuclei": anatomy.nuclei,
        "white": anatomy.white - aged,
        "aged": aged,
        "vessel": vessel,
    }
    if not label.any():
        return healthy
    core = {
        "enhancing": _soft(label == lesions.ENHANCING, 0.5),
        "necrosis": _soft(label == lesions.NECROSIS, 0.5),
    }
    # enhancement is uneven: where the barrier leaks less, it looks like oedema
    core["enhancing"] *= np.clip(0.85 + 0.2 * smooth_noise(rng, GRID, 3.5), 0.4, 1)
    # a core without enhancement is tumour more than necrosis
    fluidity = 0.45 if patient.lesion.kind == "plain" else 0.85
    core["necrosis"] *= np.clip(fluidity + 0.15 * smooth_noise(rng, GRID, 4.0), 0.1, 1)
    left = np.clip(1 - core["enhancing"] - core["necrosis"], 0, 1)
    whole = _soft(label > 0, 1.0) * (1 - anatomy.fluid)
    # patchy, and weaker in the cortex it spares
    strength = patient.lesion.oedema * (0.82 + 0.16 * smooth_noise(rng, GRID, 4.0)) * (1 - 0.35 * anatomy.cortex)
    oedema = left * whole * np.clip(strength, 0.2, 1)
    rest = (left - oedema) * anatomy.brain
    return {name: part * rest for name, part in healthy.items()} | {
        "oedema": oedema * anatomy.brain,
        **{name: part * anatomy.brain for name, part in core.items()},
    }


def _hyperintensity(patient: PatientParameters, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """0..1: caps and bands along the ventricles and scattered foci, more with age."""
    load = patient.hyperintensity
    reach_mm = 0.8 + 4.0 * load
    band = sigmoid((reach_mm * (1 + 0.5 * smooth_noise(rng, GRID, 6.0)) - anatomy.ventricle_mm) / 1.2)
    foci = sigmoid((smooth_noise(rng, GRID, 2.4) - 3.6 + 0.9 * load) / 0.15)
    return np.maximum(0.65 * band, foci)


def _soft(mask: np.ndarray, sigma: float) -> Field:
    """A mask's partial volumes: blurred by `sigma` voxels in plane, less across slices."""
    return ndimage.gaussian_filter(mask.astype(np.float32), (sigma, sigma, 0.6 * sigma))
