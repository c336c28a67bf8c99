"""A glioma in an individual's tissues: a noisy distance field whose oedema follows white matter."""

import numpy as np
from scipy import ndimage

from synthgate.cohort.phantom.anatomy import GRID, Anatomy
from synthgate.cohort.phantom.fields import Field, smooth_noise
from synthgate.cohort.phantom.parameters import LesionParameters

NECROSIS, OEDEMA, ENHANCING = 1, 2, 4


def grow(lesion: LesionParameters, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Label map [x, y, z] uint8 of the lesion, all of it inside the brain and none of it in open fluid."""
    label = np.zeros(GRID.shape, np.uint8)
    if lesion.kind == "none":
        return label
    away = _distance(anatomy)
    rough = lesion.roughness
    lobes = rough * (smooth_noise(rng, GRID, 9.0) + 0.5 * smooth_noise(rng, GRID, 4.0))
    tissue = anatomy.brain & (anatomy.fluid < 0.5)
    core_field = away * np.exp(1.1 * lobes)
    # oedema spreads along white matter and spares cortex and nuclei
    shy = ndimage.gaussian_filter(0.9 * anatomy.cortex + 0.6 * anatomy.nuclei + 0.8 * anatomy.fluid, (1.2, 1.2, 0.7))
    fingers = 1.2 * rough * smooth_noise(rng, GRID, 7.0)
    whole_field = away * np.exp(0.5 * lobes + fingers + shy)
    core = _nearest(core_field, tissue, lesion.volume_ml * lesion.core)
    whole = _nearest(np.where(core, -1.0, whole_field), tissue, lesion.volume_ml)
    label[whole] = OEDEMA
    if lesion.kind == "plain":
        label[core] = NECROSIS
    elif lesion.kind in ("ring", "solid"):
        label[core] = ENHANCING
        label[core & _within(core, lesion, rng)] = NECROSIS
    return label


def _distance(anatomy: Anatomy) -> Field:
    """Distance to the lesion's centre in mm; the other hemisphere is reached through the corpus callosum only."""
    start = anatomy.lesion_mm
    x, y, z = GRID.axes_mm()
    direct = np.sqrt((x - start[0]) ** 2 + (y - start[1]) ** 2 + (z - start[2]) ** 2)
    gate_y = np.clip(start[1], -40.0, 25.0)
    gate = np.sqrt(x**2 + (y - gate_y) ** 2 + (z - 16.0) ** 2)
    detour = gate + np.sqrt(start[0] ** 2 + (start[1] - gate_y) ** 2 + (start[2] - 16.0) ** 2)
    across = np.sign(anatomy.template_mm[0]) != np.sign(start[0])
    return np.where(across, np.maximum(detour, direct), direct).astype(np.float32) + 0.5


def _nearest(field: Field, tissue: np.ndarray, volume_ml: float) -> np.ndarray:
    """The `volume_ml` of tissue where the field is lowest, without stray islands."""
    count = min(round(volume_ml / GRID.voxel_ml), int(tissue.sum()))
    if count == 0:
        return np.zeros(GRID.shape, bool)
    limit = np.partition(field[tissue], count - 1)[count - 1]
    chosen = tissue & (field <= limit)
    parts, number = ndimage.label(chosen)
    if number > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        chosen = (sizes > 0.2 * sizes.max())[parts]
    return chosen


def _within(core: np.ndarray, lesion: LesionParameters, rng: np.random.Generator) -> np.ndarray:
    """Where the core is necrotic: deeper than the rim, whose thickness varies along it and which may gape."""
    depth_mm = ndimage.distance_transform_edt(core, GRID.spacing_mm)
    rim_mm = lesion.rim_mm * np.exp(0.45 * smooth_noise(rng, GRID, 5.0))
    if lesion.kind == "solid":
        rim_mm = rim_mm + 6.0
    return depth_mm > np.maximum(rim_mm, 1.5)
