"""Whole volumes as a painter's training items, in a window around the head; and their latents, made once and kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from synthgate.generators.anatomy import box_of
from synthgate.generators.learned.conditions import residual_of
from synthgate.generators.learned.slices import Slices, flipped


@dataclass(frozen=True)
class Window:
    """A box of voxels around a head, as large as the networks want it; beyond the volume it holds 0."""

    corner: tuple[int, ...]
    """Lowest voxel (x, y, z), in those of the volume; negative where the box begins before it."""
    size: tuple[int, ...]

    @classmethod
    def around(cls, head: np.ndarray, size: tuple[int, ...]) -> "Window":
        """With the middle of the head [x, y, z] in its middle."""
        low, sides = box_of(head)
        return cls(tuple(int(v) for v in low + sides // 2 - np.array(size) // 2), size)

    @classmethod
    def over(cls, head: np.ndarray, size: tuple[int, ...], multiples: tuple[int, ...]) -> "Window":
        """Of at least `size`, larger in steps of `multiples` until the head is in it."""
        _, sides = box_of(head)
        needed = (max(s, -(-int(n) // m) * m) for s, n, m in zip(size, sides, multiples, strict=True))
        return cls.around(head, tuple(needed))

    def _both(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Where volume and window overlap: index into the volume's last axes, and into the window's."""
        spans = [
            (max(corner, 0), min(corner + side, whole), corner)
            for corner, side, whole in zip(self.corner, self.size, shape, strict=True)
        ]
        there = (..., *(slice(low, high) for low, high, _ in spans))
        return there, (..., *(slice(low - corner, high - corner) for low, high, corner in spans))

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """[…, x, y, z] → the window's part, […, *size]."""
        out = np.zeros((*volume.shape[:-3], *self.size), volume.dtype)
        there, here = self._both(volume.shape[-3:])
        out[here] = volume[there]
        return out

    def back(self, part: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """[…, *size] → a volume […, *shape] with that in its place, and 0 elsewhere."""
        out = np.zeros((*part.shape[:-3], *shape), part.dtype)
        there, here = self._both(shape)
        out[there] = part[here]
        return out


@dataclass(frozen=True)
class Volumes:
    """The whole volumes of the cases of `slices`, each in a window of `size` voxels."""

    slices: Slices
    size: tuple[int, ...]
    noise: tuple[int, ...]
    """Shape of a volume's latent, [channel, x, y, z]."""

    @property
    def seed(self) -> int:
        """As the slices'."""
        return self.slices.seed

    def index(self) -> np.ndarray:
        """[volume] numbers of the cases."""
        return np.arange(len(self.slices.cases))

    def take(
        self, rows: np.ndarray, mirrored: np.ndarray | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals [volume, channel, x, y, z], conditions [volume, plane, x, y, z] and classes [volume].

        `seeds` change nothing: an autoencoder sees true maps.
        """
        residuals, planes, groups = [], [], []
        for number in rows:
            case, codes = self.slices.cases[number], self.slices.maps[number]
            window = Window.around(codes > 0, self.size)
            told = self.slices.conditions.planes(window.cut(codes)[None], self.slices.tables[number])[0]
            image = window.cut(self.slices.store.image(case))
            residuals.append(residual_of(image, told))
            planes.append(told)
            groups.append(self.slices.conditions.group(case.attributes))
        return flipped(np.stack(residuals), mirrored), flipped(np.stack(planes), mirrored), np.array(groups)


@dataclass(frozen=True)
class Latents:
    """The latents of volumes, of unit spread, with their conditions on the latents' grid."""

    volumes: Volumes
    folder: Path
    """Where they are."""
    scaled: Callable[[np.ndarray], np.ndarray]
    """Brings latents [item, channel, x, y, z] to mean 0 and unit spread."""

    @property
    def seed(self) -> int:
        """As the volumes'."""
        return self.volumes.seed

    @property
    def noise(self) -> tuple[int, ...]:
        """[channel, x, y, z], as the latent's."""
        return self.volumes.noise

    def index(self) -> np.ndarray:
        """As the volumes'."""
        return self.volumes.index()

    def kept(self, number: int, mirrored: bool) -> Path:
        """The file with `latent` [channel, x, y, z], not scaled, and `condition` [plane, x, y, z] of a volume."""
        return self.folder / f"{self.volumes.slices.cases[number].case}{'-mirrored' if mirrored else ''}.safetensors"

    def take(
        self, rows: np.ndarray, mirrored: np.ndarray, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latents [volume, channel, x, y, z], conditions [volume, plane, x, y, z] and classes [volume].

        `seeds` change nothing: latents are encoded once.
        """
        slices = self.volumes.slices
        found = [load_file(self.kept(int(row), bool(flip))) for row, flip in zip(rows, mirrored, strict=True)]
        groups = np.array([slices.conditions.group(slices.cases[row].attributes) for row in rows])
        latent, condition = (np.stack([one[key] for one in found]) for key in ("latent", "condition"))
        return self.scaled(latent), condition, groups
