"""Placing a lesion in a head, and deforming whole maps: how new anatomies come from old ones."""

import numpy as np
import torch
from torch.nn import functional

from synthgate.generators.anatomy import FIRST_CLUSTER, Head, Lesion, box_of
from synthgate.generators.fields import smooth_noise

ROTATION_DEG = 15.0
SCALES = (0.8, 1.25)
SHIFT = 0.03
"""Lesion placement: largest rotation, range of scale per axis, largest shift as a share of the head's box."""
LESION_WAVE = 0.12
"""Standard deviation of the lesion's elastic displacement, as a share of its half size."""
HEAD_ROTATION_DEG = 6.0
HEAD_WAVE = 1.2
"""Whole-map deformation; the wave in in-plane voxels."""
WAVE_LENGTH = 14.0
"""Voxels between two knots of the head's wave."""
FITTINGS = 6
"""Tries to give a deformed head its box back."""


def put_back(lesion: Lesion, head: Head) -> np.ndarray:
    """The lesion where it was in its own head, [x, y, z] uint8."""
    out = np.zeros(head.map.shape, np.uint8)
    start = (head.box[0] - np.array(lesion.low)).round().astype(int)
    out[tuple(slice(s, s + n) for s, n in zip(start, lesion.label.shape, strict=True))] = lesion.label
    return out


def place(
    lesion: Lesion, head: Head, rng: np.random.Generator, *, mirror: bool | None = None, growth: float = 1.0
) -> tuple[np.ndarray, int]:
    """The lesion at its relative place in another head, perhaps flipped, rotated, scaled and elastically deformed.

    `mirror` flips it, or not, or by chance (None); `growth` scales every axis once more; neither changes what is drawn.
    Returns [x, y, z] uint8 on the head's grid and the number of voxels that fell off the grid.
    """
    low, sides = head.box
    spacing = np.array(head.spacing_mm or (1.0, 1.0, 1.0))
    stretch = sides / np.array(lesion.sides)
    middle = (np.array(lesion.label.shape) - 1) / 2
    at = (middle + 0.5 - np.array(lesion.low)) / np.array(lesion.sides)
    chance = rng.random() < 0.5
    mirrored = -1.0 if (chance if mirror is None else mirror) else 1.0
    at[0] = at[0] if mirrored > 0 else 1 - at[0]
    centre = low + (at + rng.uniform(-SHIFT, SHIFT, 3)) * sides - 0.5
    # without a known slice distance, a turn out of the plane would mix pixels with slices
    rotation = rotation_matrix(rng.uniform(-ROTATION_DEG, ROTATION_DEG, 3), head.spacing_mm is not None)
    scales = growth * np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), 3))

    reach = np.linalg.norm((middle + 1) * stretch * spacing) * SCALES[1] * growth / spacing
    first, last = np.floor(centre - reach).astype(int), np.ceil(centre + reach).astype(int) + 1
    grid = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij")).astype(np.float32)
    away = (grid - centre[:, None, None, None]) * spacing[:, None, None, None]
    back = np.einsum("ji,jxyz->ixyz", rotation, away) / (scales * spacing * stretch)[:, None, None, None]
    back[0] *= mirrored
    wave = np.stack([smooth_noise(grid.shape[1:], (4, 4, 4), rng) for _ in range(3)])
    back += wave * (LESION_WAVE * (middle + 0.5))[:, None, None, None] + middle[:, None, None, None]

    placed = _majority(lesion.label, back)
    out = np.zeros(head.map.shape, np.uint8)
    inner = [(max(f, 0), min(e, n)) for f, e, n in zip(first.tolist(), last.tolist(), head.map.shape, strict=True)]
    if any(b <= a for a, b in inner):
        return out, int((placed > 0).sum())
    here = tuple(slice(a, b) for a, b in inner)
    out[here] = placed[tuple(slice(a - f, b - f) for (a, b), f in zip(inner, first.tolist(), strict=True))]
    return out, int((placed > 0).sum() - (out > 0).sum())


def deform(
    codes: np.ndarray, label: np.ndarray, spacing_mm: tuple[float, float, float] | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A mild rotation and elastic deformation of a head's codes with a label in it, both [x, y, z].

    Returns one map, and the shares of the clusters in its voxels. The head keeps its box in the plane: its size is its
    patient's, and to prepare the image of it changes no pixel. A code of the map is the nearest voxel's: by shares,
    thin structures would lose to what is beside them.
    """
    spacing = np.array(spacing_mm or (1.0, 1.0, 1.0))[:, None, None, None]
    middle = ((np.array(codes.shape) - 1) / 2)[:, None, None, None]
    rotation = rotation_matrix(rng.uniform(-HEAD_ROTATION_DEG, HEAD_ROTATION_DEG, 3), spacing_mm is not None)
    knots = [max(3, round(n * s / WAVE_LENGTH)) for n, s in zip(codes.shape, (spacing / spacing[0]).flat, strict=True)]
    wave = np.stack([smooth_noise(codes.shape, tuple(knots), rng) for _ in range(3)])
    # across slices the wave has the same length in mm; of unknown distance, a fraction of a slice
    wave *= HEAD_WAVE * (spacing[0] / spacing if spacing_mm else np.array([1, 1, 0.2])[:, None, None, None])
    grid = np.stack(np.meshgrid(*map(np.arange, codes.shape), indexing="ij")).astype(np.float32)

    def back(low: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Where to read for a voxel: of the grid moved by `low` and scaled, then turned, then bent."""
        at = (grid + 0.5) * scale[:, None, None, None] + low[:, None, None, None] - 0.5
        away = ((at - middle) * spacing).astype(np.float32)
        return np.einsum("ji,jxyz->ixyz", rotation.astype(np.float32), away) / spacing + middle + wave

    wanted, sides = box_of(codes > 0)
    low, scale = np.zeros(3), np.ones(3)
    out, at = codes, back(low, scale)
    for _ in range(FITTINGS):
        at = back(low, scale)
        out = _read(codes[None], at, "nearest")[0].astype(np.uint8)
        if not out.any():
            out, at = codes, grid
            break
        found, sizes = box_of(out > 0)
        if (found[:2] == wanted[:2]).all() and (sizes[:2] == sides[:2]).all():
            break
        step = np.append(sizes[:2] / sides[:2], 1.0)
        low = low + scale * np.append(found[:2] - step[:2] * wanted[:2], 0.0)
        scale = scale * step
    placed = np.where(out > 0, _majority(label, at), 0)
    clusters = np.arange(FIRST_CLUSTER, int(codes.max()) + 1)
    shares = _read(np.stack([codes == cluster for cluster in clusters]), at, "bilinear")
    shares /= np.maximum(shares.sum(axis=0), 1e-3)
    return np.where(placed > 0, placed, out).astype(np.uint8), shares.astype(np.float16)


def _majority(label: np.ndarray, back: np.ndarray) -> np.ndarray:
    """A label [x, y, z] read at the coordinates `back` [axis, …]: its value where most of the weight is in it."""
    values = np.unique(label[label > 0])
    if not values.size:
        return np.zeros(back.shape[1:], np.uint8)
    parts = _read(np.stack([label == value for value in values]), back, "bilinear")
    # lesion or not first, which part second: parts side by side must not lose to the background one by one
    return np.where(parts.sum(axis=0) >= 0.5, values[parts.argmax(axis=0)], 0).astype(np.uint8)


def _read(parts: np.ndarray, back: np.ndarray, mode: str) -> np.ndarray:
    """[part, x, y, z] read at the coordinates `back` [axis, x, y, z], `bilinear` or `nearest`; 0 off the grid."""
    # torch counts axes from the last, and coordinates from -1 to 1 between the middles of the outer voxels; one
    # alone would have no outside, so there is a 0 around
    padded = np.pad(parts.astype(np.float32), ((0, 0), (1, 1), (1, 1), (1, 1)))
    sides = np.array(padded.shape[1:])[:, None, None, None] - 1
    at = torch.from_numpy(np.moveaxis(2 * (back + 1) / sides - 1, 0, -1)[..., ::-1].astype(np.float32))
    found = functional.grid_sample(
        torch.from_numpy(padded)[None], at[None], mode=mode, padding_mode="zeros", align_corners=True
    )
    return np.asarray(found[0].numpy())


def rotation_matrix(degrees: np.ndarray, spatial: bool) -> np.ndarray:
    """Rotation about x, y and z in turn; about z alone unless `spatial`. [3, 3]."""
    out = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        if spatial or axis == 2:
            a, b = (axis + 1) % 3, (axis + 2) % 3
            turn = np.eye(3)
            turn[[a, b, a, b], [a, b, b, a]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
            out = turn @ out
    return out
