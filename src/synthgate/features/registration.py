"""Thumbnails laid over one another: how alike two heads are once one of them is turned, moved and scaled to fit.

A copy that was rotated, shifted or cropped is far from its original until it lies on it again; strangers gain little.
Many views of every case are compared coarsely with everybody; only the few nearest are fitted closely (Gauss–Newton on
a smooth displacement with the reference's gradients: Lucas–Kanade).
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synthgate import workers

TURNS = (-10, -5, 0, 5, 10)
"""In-plane views, degrees; what lies between is left to the fit."""
SCALES = (1.0, 1.14)
"""In-plane and along z: a cropped head fills more of its box, and covers less of a whole one."""
CLOSE = 4
"""Nearest references that a case is fitted to."""
STEPS = (8, 6)
"""Gauss–Newton steps on the half and on the whole grid."""
WAVES = (4, 5, 3)
"""Half waves per axis that a fit may bend a head by."""
DAMPING = 0.3
"""Share of its own that each displacement resists with; what little is lost on copies, strangers lose more."""
SOME = 7
"""Of so many voxels one says how steep the reference is, which is most of the work; all say where it differs."""
FARTHEST = 0.6
"""A displacement, in half heads, that fits no head on a head."""


def similarities(left: np.ndarray, right: np.ndarray, left_out: np.ndarray | None = None) -> np.ndarray:
    """[row, other] mean correlation of the channels of fingerprints [case, channel, *grid], the left one fitted.

    Only the nearest `CLOSE` are fitted closely, the rest as the best view has them. `left_out` [row, other] marks pairs
    that are not compared: −1.
    """
    shape = (len(left), len(right))
    skipped = np.zeros(shape, bool) if left_out is None else left_out
    if not left.any() or not right.any():
        return np.full(shape, -1.0)
    ours, theirs = (torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)) for rows in (left, right))
    with torch.inference_mode():
        found, view = _coarse(ours, theirs)
        found[torch.from_numpy(skipped)] = -1
    order = found.argsort(dim=1, descending=True)[:, :CLOSE]
    known, maps = found.gather(1, order) > -1, _views(left.shape[2:])

    def fitted(other: int) -> tuple[np.ndarray, np.ndarray]:
        """Whom the reference `other` is near to, and how like it they are once they fit it."""
        rows = torch.nonzero(((order == other) & known).any(1))[:, 0]
        chosen = [maps[index] for index in view[rows, other]]
        moving = [ours[row].flip(1) if flip else ours[row] for row, (flip, _) in zip(rows, chosen, strict=True)]
        with torch.inference_mode():
            alike = fit(torch.stack(moving), theirs[other], torch.stack([theta for _, theta in chosen]))
        return rows.numpy(), alike.double().numpy()

    out = found.double().numpy()
    others = torch.unique(order[known]).tolist()
    for other, (rows, alike) in zip(others, workers.each(fitted, others), strict=True):
        out[rows, other] = np.maximum(out[rows, other], alike)
    return np.asarray(out)


def fit(moving: Tensor, still: Tensor, theta: Tensor) -> Tensor:
    """[case] similarity of `moving` [case, channel, *grid] to `still` [channel, *grid] after a smooth fit.

    `theta` [case, 3, 4] is where the fit starts, in `affine_grid`'s coordinates.
    """
    bent = torch.zeros(len(moving), len(_fields((1, 1, 1))), 3)
    halved = (functional.avg_pool3d(moving, 2), functional.avg_pool3d(still, 2))
    for (ours, theirs), steps in zip((halved, (moving, still)), STEPS, strict=True):
        bent, found = _descend(ours, _unit(theirs[None])[0], theta, bent, steps)
    return found


def _fields(grid: tuple[int, ...]) -> Tensor:
    """[field, *grid] that displacements are made of: 1 and the coordinates (an affine map), and low cosines."""
    at = torch.meshgrid(*((2 * torch.arange(n) + 1) / n - 1 for n in grid), indexing="ij")
    lines = [
        torch.cos(math.pi * torch.arange(count)[:, None] * (torch.arange(n) + 0.5) / n)
        for count, n in zip(WAVES, grid, strict=True)
    ]
    waves = torch.einsum("ix,jy,kz->ijkxyz", *lines).flatten(0, 2)
    return torch.cat([waves, torch.stack(at)])


def _descend(moving: Tensor, still: Tensor, theta: Tensor, bent: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The best displacement [case, field, zyx] met in some Gauss–Newton steps, and the similarity there."""
    fields = _fields(tuple(still.shape[1:]))
    slopes = torch.stack([torch.gradient(still, dim=axis)[0] * still.shape[axis] / 2 for axis in (3, 2, 1)])
    lines, steep = fields.flatten(1), slopes.flatten(2)
    channel, place = np.divmod(np.arange(0, still.numel(), SOME), lines.shape[1])
    some = (lines[:, None, place] * steep[:, channel, place]).flatten(0, 1)
    normal = SOME * (some @ some.T)
    normal += torch.diag(DAMPING * normal.diagonal() + 1e-9)
    factor = torch.linalg.cholesky(normal)
    start = functional.affine_grid(theta, [len(moving), 1, *still.shape[1:]], align_corners=False)
    best, most = bent, torch.full((len(moving),), -math.inf)
    for step in range(steps + 1):
        away = torch.einsum("nfa,fxyz->nxyza", bent, fields)
        warped, seen = _sampled(moving, start + away)
        target = _unit(still * seen)
        found = (warped * target).flatten(1).sum(1) / len(still)
        better = found > most
        best, most = torch.where(better[:, None, None], bent, best), torch.maximum(found, most)
        if step < steps:
            # gradients of the whole reference: near enough to those of the part that is seen
            pull = torch.einsum("acv,ncv->nav", steep, (target - warped).flatten(2)) @ lines.T
            change = torch.cholesky_solve(pull.transpose(1, 2).flatten(1).T, factor).T
            moved = bent + change.reshape(bent.shape)
            # where it runs away it starts again from the best so far
            bent = torch.where((moved.abs().amax((1, 2)) > FARTHEST)[:, None, None], best, moved)
    return best, most


def _coarse(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """[row, other] similarity in the best view, on the half grid; and which view that is."""
    grid = ours.shape[2:]
    small = functional.avg_pool3d(ours, 2)
    still = functional.avg_pool3d(theirs, 2)
    most, which = torch.full((len(ours), len(theirs)), -math.inf), torch.zeros(len(ours), len(theirs), dtype=torch.long)
    for index, (flip, theta) in enumerate(_views(grid)):
        view, seen = _warped(small.flip(2) if flip else small, theta[None].expand(len(ours), -1, -1))
        found = view.flatten(1) @ _unit(still * seen[:1]).flatten(1).T / ours.shape[1]
        which = torch.where(found > most, index, which)
        most = torch.maximum(found, most)
    return most, which


def _views(grid: tuple[int, ...]) -> list[tuple[bool, Tensor]]:
    """(mirrored, map [3, 4]) of every view."""
    out = []
    aspect = grid[0] / grid[1]
    for flip, degrees, scale, z in itertools.product((False, True), TURNS, SCALES, SCALES):
        angle = math.radians(degrees)
        theta = torch.zeros(3, 4)
        theta[0, 0] = z
        theta[1, 1] = theta[2, 2] = scale * math.cos(angle)
        theta[1, 2], theta[2, 1] = scale * math.sin(angle) * aspect, -scale * math.sin(angle) / aspect
        out.append((flip, theta))
    return out


def _warped(values: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The mapped values, of unit length, and [case, 1, *grid] where there is something of the case to be seen."""
    return _sampled(values, functional.affine_grid(theta, list(values.shape), align_corners=False))


def _sampled(values: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """The same by sampling places [case, *grid, zyx]."""
    seen = (grid.abs() <= 1).all(-1)[:, None]
    return _unit(functional.grid_sample(values, grid, align_corners=False)), seen


def _unit(values: Tensor) -> Tensor:
    """Each channel [case, channel, *grid] of unit length; a constant one stays zero."""
    length = values.flatten(2).norm(dim=2).clamp_min(1e-6)
    return values / length[..., None, None, None]
