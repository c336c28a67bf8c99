"""The averaged anatomy every patient is an individual of: MNI152 maps as shipped inside the nilearn package.

ICBM 2009a nonlinear symmetric, tissue probabilities at 1 mm (Fonov et al., NeuroImage 54:313, 2011).
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy import ndimage

from synthgate.cohort.phantom.fields import Field, Grid

NOTICE = (
    "anatomy derived from the ICBM 152 nonlinear atlas 2009a (MNI152) as shipped by nilearn: Copyright (C) 1993-2009 "
    "Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University. Permission "
    "to use, copy, modify, and distribute this software and its documentation for any purpose and without fee is "
    "hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill University "
    'make no representations about the suitability of this software for any purpose. It is provided "as is" without '
    "express or implied warranty. The authors are not responsible for any data loss, equipment damage, property loss, "
    "or injury to subjects or patients resulting from the use or misuse of this software package."
)
"""The permission notice that must travel with the template and what is made from it."""

CITATION = (
    "please cite V Fonov et al., NeuroImage 54(1):313-327, 2011, doi:10.1016/j.neuroimage.2010.07.033 "
    "and V Fonov et al., NeuroImage 47(S1):S102, 2009, doi:10.1016/S1053-8119(09)70884-5"
)

CORNER_MM = (-98.0, -134.0, -72.0)
"""World position of the maps' voxel (0, 0, 0); they are in RAS at 1 mm."""
SLICE_MM = 3


@dataclass(frozen=True)
class Template:
    """Maps in MNI152 space; look them up at world positions."""

    grid: Grid
    brain: Field
    """1 inside the skull-stripped brain, 0 outside, soft at the rim."""
    grey: Field
    """Probability of grey matter, 0..1."""
    white: Field
    """Probability of white matter, 0..1."""
    coarse: Grid
    ventricle_mm: Field
    """Signed distance to the lateral and third ventricles' wall in mm, negative inside; on `coarse`."""
    places_mm: np.ndarray
    """[place, 3] world positions inside the hemispheres' white matter, where gliomas start; ordered at random."""

    def tissues(self, world_mm: np.ndarray, *maps: Field) -> list[Field]:
        """Values of `brain`, `grey` or `white` at world positions [3, x, y, z], linearly interpolated, 0 outside."""
        index = self.grid.index(world_mm)
        return [ndimage.map_coordinates(values, index, order=1, output=np.float32) for values in maps]

    def to_ventricle(self, world_mm: np.ndarray) -> Field:
        """`ventricle_mm` at world positions [3, x, y, z]."""
        index = self.coarse.index(world_mm)
        return ndimage.map_coordinates(self.ventricle_mm, index, order=1, mode="nearest", output=np.float32)


@cache
def template() -> Template:
    """Read nilearn's maps once per process."""
    t1, grey, white = (_map(name) for name in ("t1", "gm", "wm"))
    sides = [_extent(np.flatnonzero(t1.any(axis=others))) for others in ((1, 2), (0, 2), (0, 1))]
    x0, y0, z0 = (float(corner + side.start) for corner, side in zip(CORNER_MM, sides, strict=True))
    box, origin = tuple(sides), (x0, y0, z0)
    brain = ndimage.binary_fill_holes(t1[box] > 0).astype(np.float32)
    grey, white = (values[box].astype(np.float32) / 255 for values in (grey, white))
    # a voxel of the phantom averages over 2 x 2 x 3 mm
    brain, grey, white = (ndimage.uniform_filter(f, (2, 2, SLICE_MM), mode="constant") for f in (brain, grey, white))
    grid = Grid(brain.shape, (1.0, 1.0, 1.0), origin)
    coarse = Grid(brain[::2, ::2, ::2].shape, (2.0, 2.0, 2.0), origin)
    step = (slice(None, None, 2),) * 3
    x, y, z = coarse.axes_mm()
    fluid = brain[step] - grey[step] - white[step] > 0.5
    # the fluid of this box that hangs together: the lateral and third ventricles
    near = (np.abs(x) < 42) & (y > -75) & (y < 42) & (z > -22) & (z < 34)
    parts, _ = ndimage.label(ndimage.binary_opening(fluid & near))
    ventricle = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    distance = ndimage.distance_transform_edt(~ventricle, 2.0) - ndimage.distance_transform_edt(ventricle, 2.0)
    starts = np.argwhere((white[step] > 0.6) & (z > -20) & (np.abs(x) > 12) & (np.abs(x) < 58))
    places = np.random.default_rng(0).permutation(starts) * 2.0 + np.array(origin)
    return Template(grid, brain, grey, white, coarse, distance.astype(np.float32), places)


def _extent(occupied: np.ndarray) -> slice:
    """The stretch of an axis around the occupied indices, with a margin."""
    return slice(max(int(occupied[0]) - 3, 0), int(occupied[-1]) + 4)


def _map(name: str) -> np.ndarray:
    """One of nilearn's maps, [197, 233, 189] uint8."""
    import nibabel

    # nilearn.datasets itself takes seconds to import, and only the files are needed
    maps = Path(str(files("nilearn"))) / "datasets" / "data"
    image = nibabel.nifti1.load(maps / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    return np.asarray(image.dataobj)
