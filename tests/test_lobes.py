import nibabel
import numpy as np
import pytest
from scipy import ndimage

from synthgate.cohort.phantom import template
from synthgate.generators.anatomy import box_of
from synthgate.generators.lobes import HEMISPHERES, LOBES, LOW_MM, SIDES_MM, hemispheres, lobes, place_of

WELL_KNOWN = {
    "hand knob": (-38, -20, 58, "frontal"), "Broca": (-48, 16, 16, "frontal"), "eye field": (-28, -4, 52, "frontal"),
    "dorsolateral": (-42, 32, 28, "frontal"), "supplementary motor": (4, -4, 60, "frontal"),
    "orbitofrontal": (26, 34, -14, "frontal"), "medial prefrontal": (2, 50, 10, "frontal"),
    "postcentral": (42, -34, 60, "parietal"), "angular": (-46, -62, 32, "parietal"),
    "supramarginal": (56, -38, 30, "parietal"), "precuneus": (4, -62, 42, "parietal"),
    "superior parietal": (24, -60, 60, "parietal"), "posterior cingulate": (2, -50, 28, "parietal"),
    "V1": (10, -86, 2, "occipital"), "V5": (46, -70, 2, "occipital"), "cuneus": (6, -84, 24, "occipital"),
    "lingual": (14, -72, -6, "occipital"), "hippocampus": (28, -20, -14, "temporal"), "A1": (50, -20, 4, "temporal"),
    "amygdala": (-22, -4, -18, "temporal"), "pole": (-40, 14, -30, "temporal"), "fusiform": (42, -50, -18, "temporal"),
    "middle temporal": (60, -40, -4, "temporal"), "parahippocampal": (28, -42, -10, "temporal"),
    "putamen": (26, 2, 2, "deep"), "thalamus": (10, -18, 8, "deep"), "insula": (38, 2, 2, "deep"),
    "caudate": (12, 12, 8, "deep"), "crus I": (36, -66, -36, "infratentorial"),
    "vermis": (2, -60, -24, "infratentorial"), "pons": (4, -26, -32, "infratentorial"),
}  # fmt: skip
"""MNI coordinates in mm as the literature has them."""


@pytest.mark.parametrize(("x", "y", "z", "lobe"), WELL_KNOWN.values(), ids=WELL_KNOWN.keys())
def test_well_known_places_are_in_their_lobe_on_both_sides(x, y, z, lobe):
    at = (np.array([[x, -x], [y, y], [z, z]]) - LOW_MM[:, None]) / SIDES_MM[:, None]
    assert [LOBES[i] for i in lobes(at)] == [lobe, lobe]
    if abs(x) > 1:
        assert [HEMISPHERES[i] for i in hemispheres(at)] == (["left", "right"] if x < 0 else ["right", "left"])


def test_the_box_is_that_of_the_mni_brain():
    low, sides = box_of(ndimage.binary_fill_holes(template._map("t1") > 0))
    np.testing.assert_allclose(low + np.array(template.CORNER_MM), LOW_MM)
    np.testing.assert_allclose(sides, SIDES_MM)


def test_the_first_axis_of_ras_runs_from_the_patients_left():
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    assert nibabel.aff2axcodes(affine) == ("R", "A", "S")  # towards the right: 0 is left
    assert place_of(np.array([[0.1], [0.8], [0.7]])) == ("left", "frontal")


def test_most_voxels_decide():
    at = np.array([[0.1, 0.1, 0.9], [0.9, 0.9, 0.1], [0.6, 0.6, 0.5]])
    assert place_of(at) == ("left", "frontal") and place_of(at[:, 1:2]) == ("left", "frontal")
    assert place_of(at[:, [0, 2, 2]]) == ("right", "occipital")
