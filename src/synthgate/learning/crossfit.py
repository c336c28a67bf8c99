"""Cross-fitting by patient: every patient is predicted by a network that did not see them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from synthgate import workers
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import CohortError, LineageError
from synthgate.learning import weights
from synthgate.learning.regions import Regions
from synthgate.learning.sampler import Pool, Sampler
from synthgate.learning.segmenter import build, predict
from synthgate.params import Segmenter
from synthgate.scratch import Scratch


def assign(patients: Sequence[str], folds: int, seed: int) -> dict[str, int]:
    """Patient → fold, of nearly equal sizes, by their order and the seed; raises CohortError for too few patients."""
    names = list(dict.fromkeys(patients))
    if len(names) < 2 * folds:
        raise CohortError(
            f"{len(names)} patients are too few for {folds} folds; need at least {2 * folds}, or fewer folds"
        )
    places = np.random.default_rng(seed).permutation(len(names))
    return {name: int(place) % folds for name, place in zip(names, places, strict=True)}


@dataclass(frozen=True)
class CrossFitted:
    """One network per fold, each trained on all patients of the other folds."""

    networks: Sequence[nn.Module]
    fold_of: Mapping[str, int]
    params: Segmenter

    def predict(self, image: np.ndarray, people: Sequence[str]) -> np.ndarray:
        """[channel, x, y, z] → [region, x, y, z], by the fold that saw none of `people`.

        Where they are spread over folds, or nobody is named, the median over all folds. Raises LineageError for a
        person the folds do not know.
        """
        unknown = [name for name in people if name not in self.fold_of]
        if unknown:
            raise LineageError(f"patient {unknown[0]} is in no fold of the judge; expected a development patient")
        folds = {self.fold_of[name] for name in people}
        chosen = folds if len(folds) == 1 else range(len(self.networks))
        return np.median([predict(self.networks[fold], image, self.params) for fold in chosen], axis=0)


def cross_fit(
    store: Store,
    cases: Sequence[StoredCase],
    regions: Regions,
    params: Segmenter,
    fold_of: Mapping[str, int],
    seed: int,
    scratch: Scratch,
) -> list[Path]:
    """Train one segmenter per fold on the cases of the other folds; returns their folders in scratch, fold by fold."""
    from synthgate.learning.fitting import trained  # Lightning takes seconds

    def one(fold: int) -> Path:
        others = [case for case in cases if fold_of[case.patient] != fold]
        sampler = Sampler([Pool(store, others, 1.0)], regions, params, seed + fold)
        return trained(scratch, f"fold-{fold}", sampler, len(store.channels))

    return list(workers.each(one, range(max(fold_of.values()) + 1)))


def load(
    folders: Sequence[Path], fold_of: Mapping[str, int], channels: int, regions: int, params: Segmenter
) -> CrossFitted:
    """Open the folds' networks; raises ArtefactError."""
    network = functools.partial(build, params, channels, regions)
    return CrossFitted([weights.load(network(), folder) for folder in folders], fold_of, params)
