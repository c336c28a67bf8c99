"""Training batches: which slices or patches of which cases, as a pure function of the seed and the step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import CohortError
from synthgate.learning import augment
from synthgate.learning.regions import Regions, to_regions
from synthgate.params import Segmenter


@dataclass(frozen=True)
class Pool:
    """Cases of one store to train on, with the share of each batch that comes from them."""

    store: Store
    cases: Sequence[StoredCase]
    share: float


class Sampler:
    """Draws the batch of any step; nothing but the step and the seed decides it, so training resumes exactly."""

    def __init__(self, pools: Sequence[Pool], regions: Regions, params: Segmenter, seed: int) -> None:
        self.pools = pools
        self.regions = regions
        self.params = params
        self.seed = seed
        self._slices = [_index(pool) for pool in pools]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """([sample, channel, *patch] float32, [sample, region, *patch] float32 of 0 and 1) of this step, augmented."""
        rng = np.random.default_rng([self.seed, step])
        sources = rng.choice(len(self.pools), self.params.batch, p=[pool.share for pool in self.pools])
        wanted = rng.random(self.params.batch) < self.params.foreground
        drawn = [self._patch(int(source), bool(lesion), rng) for source, lesion in zip(sources, wanted, strict=True)]
        image = torch.from_numpy(np.stack([image for image, _ in drawn]).astype(np.float32))
        label = np.stack([label for _, label in drawn])
        target = torch.from_numpy(to_regions(label, self.regions).swapaxes(0, 1).astype(np.float32))
        dims = self.params.spatial_dims
        return augment.apply(image, target, augment.draw(rng, self.params.batch, image.shape[1], dims))

    def _patch(self, source: int, lesion: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pool, slices = self.pools[source], self._slices[source]
        listed = slices["lesion" if lesion and len(slices["lesion"]) else "head"]
        number, plane = listed[rng.integers(len(listed))]
        images, labels = pool.store.planes(pool.cases[number])
        if self.params.spatial_dims == 2:
            x, y = (_start(side, size, rng) for side, size in zip(labels.shape[1:], self.params.patch, strict=True))
            w, h = self.params.patch
            return images[plane, :, x : x + w, y : y + h], labels[plane, x : x + w, y : y + h]
        return self._patch_3d(images, labels, int(plane), rng)

    def _patch_3d(
        self, images: np.ndarray, labels: np.ndarray, plane: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        w, h, d = self.params.patch
        x, y = (_start(side, size, rng) for side, size in zip(labels.shape[1:], (w, h), strict=True))
        z = int(np.clip(plane - rng.integers(d), 0, max(0, len(labels) - d)))
        image = images[z : z + d, :, x : x + w, y : y + h].transpose(1, 2, 3, 0)
        label = labels[z : z + d, x : x + w, y : y + h].transpose(1, 2, 0)
        short = d - label.shape[2]
        return np.pad(image, ((0, 0), (0, 0), (0, 0), (0, short))), np.pad(label, ((0, 0), (0, 0), (0, short)))


def _start(side: int, size: int, rng: np.random.Generator) -> int:
    if size > side:
        raise CohortError(f"patch side {size} exceeds the prepared size {side}; make `patch` fit into `prepare.size`")
    return int(rng.integers(side - size + 1))


def _index(pool: Pool) -> Mapping[str, np.ndarray]:
    """(case number, slice) pairs that show a head, and those that show a lesion."""
    found: dict[str, list[tuple[int, int]]] = {"head": [], "lesion": []}
    for number, case in enumerate(pool.cases):
        images, labels = pool.store.planes(case)
        for plane in range(len(labels)):
            if labels[plane].any():
                found["lesion"].append((number, plane))
            if images[plane, 0].any():
                found["head"].append((number, plane))
    if not found["head"]:
        raise CohortError(
            f"none of the {len(pool.cases)} cases given to training shows a head; check the split and the data"
        )
    return {name: np.array(pairs, int).reshape(-1, 2) for name, pairs in found.items()}
