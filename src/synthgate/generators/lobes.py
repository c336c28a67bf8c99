"""Where in the brain: hemispheres, and lobes by a coarse atlas relative to the box of a skull-stripped brain.

The atlas is a handful of planes and one ellipsoid in MNI152 space, put by hand along the central and Sylvian fissures,
the parieto-occipital line and the tentorium. It is right for the middle of a lobe and vague by a centimetre at borders;
docs/steering.md gives it in words, and tests hold it against well-known coordinates.
"""

from typing import get_args

import numpy as np

from synthgate.params.steer import Hemisphere, Lobe

LOW_MM = np.array([-72.0, -107.0, -72.0])
SIDES_MM = np.array([145.0, 181.0, 155.0])
"""The box of the MNI152 brain (with cerebellum and brainstem), in mm: x to the right, y forwards, z up."""
HEMISPHERES: tuple[Hemisphere, ...] = get_args(Hemisphere)
LOBES: tuple[Lobe, ...] = get_args(Lobe)


def hemispheres(at: np.ndarray) -> np.ndarray:
    """Index into HEMISPHERES of places `at` [3, n] relative to the head's box, 0..1; x from the patient's left on."""
    return (at[0] >= 0.5).astype(int)


def lobes(at: np.ndarray) -> np.ndarray:
    """Index into LOBES of places `at` [3, n] relative to the head's box, 0..1."""
    x, y, z = at * SIDES_MM[:, None] + LOW_MM[:, None]
    x = np.abs(x)  # the box is symmetric to half a millimetre
    sylvian = z < -1 - 0.35 * y
    rules: dict[Lobe, np.ndarray] = {
        "infratentorial": ((y < -35) & (z < -16 - 0.25 * (y + 60))) | ((x < 14) & (y < -10) & (z < -10)),
        "deep": (x / 42) ** 2 + ((y + 5) / 32) ** 2 + ((z - 6) / 20) ** 2 < 1,
        "temporal": sylvian & (x > 15) & (y < 22) & (y > -62),
        "occipital": y < -66 - 0.35 * (z - 10),
        "frontal": y > -3 - 0.46 * (z - 14),
    }
    names = np.select(list(rules.values()), [LOBES.index(name) for name in rules], LOBES.index("parietal"))
    return np.asarray(names)


def place_of(at: np.ndarray) -> tuple[Hemisphere, Lobe]:
    """Where most of the voxels at `at` [3, n] are: hemisphere, and lobe."""
    side, lobe = np.bincount(hemispheres(at), minlength=2), np.bincount(lobes(at), minlength=len(LOBES))
    return HEMISPHERES[int(side.argmax())], LOBES[int(lobe.argmax())]
