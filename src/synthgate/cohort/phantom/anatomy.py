"""One individual's tissues: the averaged anatomy, displaced at four scales and folded by its own cortex."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from synthgate.cohort.phantom.fields import Field, Grid, sigmoid, smooth_noise, vector
from synthgate.cohort.phantom.parameters import PatientParameters
from synthgate.cohort.phantom.template import Template

GRID = Grid(shape=(84, 100, 48), spacing_mm=(2.0, 2.0, 3.5), origin_mm=(-83.0, -117.0, -76.0))
"""Every phantom patient is on this grid: 168 x 200 x 168 mm, slices of 3 mm with gaps of half a millimetre."""
COARSE = ((32.0, 3.3), (14.0, 1.8))
"""(sigma, amplitude) in mm of the random displacements that shape the whole head."""
FINE = ((6.0, 1.3), (3.2, 0.7))
"""The same for those within it only: the skull is smooth."""
CENTRE = vector((0.0, -18.0, 6.0))
"""Middle of the template's brain in mm."""
HEMISPHERE = vector((26.0, -18.0, 6.0))
"""Middle of its right hemisphere."""
OUTLINE = 0.985
"""The template's brain mask is looked up this much nearer to the centre, which leaves fluid around the cortex."""
FOLDS = Grid(shape=(64, 76, 64), spacing_mm=(3.0, 3.0, 3.0), origin_mm=(-96.0, -114.0, -96.0))
"""Lattice that the folding pattern is drawn on, in coordinates around a hemisphere's centre."""


@dataclass(frozen=True)
class Anatomy:
    """Tissue fractions [x, y, z] that sum to 1 inside the brain, before any lesion."""

    brain: np.ndarray
    """bool."""
    fluid: Field
    cortex: Field
    nuclei: Field
    """Deep grey matter."""
    white: Field
    ventricle_mm: Field
    """Distance to the ventricles' wall, negative inside."""
    template_mm: np.ndarray
    """[3, x, y, z]: where in the template each voxel came from."""
    lesion_mm: np.ndarray
    """[3] world position of the lesion's centre."""


def grow(patient: PatientParameters, template: Template, rng: np.random.Generator) -> Anatomy:
    """Render a patient's healthy tissues, pushed aside where the lesion will be."""
    lesion_mm = _lesion_centre(patient, template)
    outline, world = _positions(patient, lesion_mm, template, rng)
    brain = ndimage.binary_opening(template.tissues(outline, template.brain)[0] > 0.5)
    grey, white = template.tissues(world, template.grey, template.white)
    ventricle = template.to_ventricle(world)
    x, y, z = world
    # basal ganglia and thalamus, which vary little between people: the ellipsoid's surface is 1
    ellipsoid = np.sqrt((x / 34) ** 2 + ((y + 8) / 36) ** 2 + ((z - 3) / 25) ** 2)
    outer = sigmoid((ellipsoid - 1) / 0.06)
    average = np.stack([np.clip(1 - grey - white, 0, 1), grey, white])
    odds = _fold(average, outer * sigmoid((ventricle - 4) / 1.5), patient.atrophy, _pattern(world, rng), rng)
    odds = np.exp(odds - odds.max(0))
    fluid, grey, white = odds / odds.sum(0) * brain
    return Anatomy(brain, fluid, grey * outer, grey * (1 - outer), white, ventricle, world, lesion_mm)


def _fold(average: np.ndarray, ribbon: Field, atrophy: float, pattern: Field, rng: np.random.Generator) -> np.ndarray:
    """Log odds [3, x, y, z] of fluid, grey and white matter: sharpened, and folded within the cortical ribbon.

    The average of many brains is blurred where they differ. There, the individual's own pattern decides: its zeros are
    sulci (age widens them), its extremes the white blades of the gyri.
    """
    depth, detail = np.abs(pattern), smooth_noise(rng, GRID, 2.2)
    odds = (1.15 + 0.9 * ribbon) * np.log(average + vector((0.03, 0.01, 0.01)))
    odds[0] += ribbon * np.clip(4.2 - 18.0 * depth + 0.5 * detail + 1.2 * atrophy, -1.5, 5.0)
    odds[2] += ribbon * (1.5 * (depth - 0.75) + 0.5 * detail)
    return odds


def _pattern(world: np.ndarray, rng: np.random.Generator) -> Field:
    """The individual's folding pattern, unit variance, varying slowly with depth below the surface."""
    left = world[0] < 0
    outwards = world - HEMISPHERE
    outwards[0] = np.where(left, world[0] + HEMISPHERE[0], outwards[0])
    # r ** 0.4 instead of r: the pattern is stretched along the radius, so sulci run inwards
    radius = np.sqrt((outwards**2).sum(0)) + 1.0
    index = FOLDS.index(outwards * (radius / 55.0) ** -0.6)
    # hemispheres must not mirror each other, so each has a pattern of its own
    ours, theirs = (smooth_noise(rng, FOLDS, 4.0) for _ in range(2))
    right_side = ndimage.map_coordinates(ours, index, order=1, mode="nearest", output=np.float32)
    left_side = ndimage.map_coordinates(theirs, index, order=1, mode="nearest", output=np.float32)
    return np.where(left, left_side, right_side)


def _to_template(patient: PatientParameters) -> np.ndarray:
    """[3, 3] float32: the patient's axes about CENTRE to those of the template."""
    turn = Rotation.from_euler("xyz", patient.tilt_deg, degrees=True).as_matrix()
    return (np.diag(1 / np.array(patient.size)) @ turn).astype(np.float32)


def _lesion_centre(patient: PatientParameters, template: Template) -> np.ndarray:
    """World position [3] of the lesion in the patient."""
    place = template.places_mm[int(patient.lesion.place * len(template.places_mm))]
    middle = CENTRE.ravel()
    return np.linalg.solve(_to_template(patient), place - middle) + middle + np.array(patient.shift_mm)


def _positions(
    patient: PatientParameters, lesion_mm: np.ndarray, template: Template, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where each voxel lies in the template, [3, x, y, z] mm: for the outline of the brain, and for its tissues."""
    own = np.stack(np.broadcast_arrays(*GRID.axes_mm()))
    to_template, origin = _to_template(patient), CENTRE + vector(patient.shift_mm)
    coarse, fine = _displacement(COARSE, rng), _displacement(FINE, rng)
    # the skull yields to no mass, and it is smooth
    outline = (np.tensordot(to_template, own - origin, axes=1) + coarse) * np.float32(OUTLINE) + CENTRE
    pushed = own - _push(own, lesion_mm, patient)
    world = np.tensordot(to_template, pushed - origin, axes=1) + coarse + fine + CENTRE
    wider_mm = 3.2 * patient.atrophy - 0.4 + 0.6 * rng.standard_normal()
    return outline, _widen_ventricles(world, template, wider_mm)


def _displacement(scales: tuple[tuple[float, float], ...], rng: np.random.Generator) -> np.ndarray:
    """A random displacement [3, x, y, z] in mm, the sum over the scales."""
    fields = [a * np.stack([smooth_noise(rng, GRID, sigma) for _ in range(3)]) for sigma, a in scales]
    return np.sum(fields, axis=0)


def _push(own: np.ndarray, centre_mm: np.ndarray, patient: PatientParameters) -> np.ndarray:
    """Mass effect: [3, x, y, z] mm by which tissue was pushed away from the lesion's centre."""
    radius = (patient.lesion.volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    away = own - vector(centre_mm)
    reach = 1.3 * radius + 8.0
    return away * (patient.lesion.mass * np.exp(-(away**2).sum(0) / reach**2))


def _widen_ventricles(world: np.ndarray, template: Template, by_mm: float) -> np.ndarray:
    """Take voxels near the ventricles from nearer to them (or farther, if negative)."""
    distance = template.to_ventricle(world)
    slope = np.stack(np.gradient(distance, *GRID.spacing_mm))
    # the slope vanishes along the ventricle's midline, where no direction is outwards
    steep = np.sqrt((slope**2).sum(0)) + 0.3
    return world - slope / steep * (np.float32(by_mm) * np.exp(-((distance / 16) ** 2)))
