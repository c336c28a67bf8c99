"""How alike every case is to every training patient: registered to them, and by the learned, cross-fitted encoder."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from synthgate.features import registration
from synthgate.features.thumbnails import fingerprint
from synthgate.gate.measured import Measured
from synthgate.learning import encoder

DIGITS = 5
"""Kept of a similarity: what lies beyond depends on how many threads summed it, and beside whom."""
KEPT = 512
"""Fingerprints kept; half a megabyte each."""


@dataclass(frozen=True)
class Likeness:
    """Fills the columns `registered` and `learned` of a table; each patient has an encoder that never saw them."""

    train: Measured
    """The patients all are compared with."""
    fold: np.ndarray
    """Their folds."""
    networks: Sequence[nn.Module]
    """One encoder per fold, trained on the patients of the others."""

    @functools.cached_property
    def _prints(self) -> np.ndarray:
        return prints(self.train)

    @functools.cached_property
    def _embedded(self) -> list[np.ndarray]:
        """Fold by fold [patient of the fold, feature]."""
        return [
            encoder.embed(network, self.train.thumbnail[self.fold == fold])[:, 0]
            for fold, network in enumerate(self.networks)
        ]

    def __call__(self, table: Measured) -> Measured:
        """Compare cases with everybody, be they of a training patient or not: a batch's."""
        registered = registration.similarities(prints(table), self._prints)
        return self._filled(table, registered, self._learned(table))

    def among(self, table: Measured, fold: np.ndarray) -> Measured:
        """Compare development patients, of these folds, with the others: what is usual between two people.

        To themselves they count as 1; whom an encoder has seen is no example of the unseen, so that the learned
        similarity is −inf between patients of different folds.
        """
        own = np.equal.outer(table.group, self.train.group)
        registered = np.where(own, 1.0, registration.similarities(prints(table), self._prints, own))
        learned = np.where(np.equal.outer(fold, self.fold), np.where(own, 1.0, self._learned(table)), -np.inf)
        return self._filled(table, registered, learned)

    def _learned(self, table: Measured) -> np.ndarray:
        out = np.full((len(table), len(self.train)), -np.inf)
        for fold, (network, right) in enumerate(zip(self.networks, self._embedded, strict=True)):
            views = encoder.embed(network, table.thumbnail)
            if len(table) and len(right):
                out[:, self.fold == fold] = np.maximum(views[:, 0] @ right.T, views[:, 1] @ right.T)
        return out

    def _filled(self, table: Measured, registered: np.ndarray, learned: np.ndarray) -> Measured:
        seen = np.asarray(prints(table).any(axis=(1, 2, 3, 4)))[:, None]
        return dataclasses.replace(
            table,
            registered=np.where(seen, registered, -np.inf).round(DIGITS).astype(np.float32),
            learned=np.where(seen, learned, -np.inf).round(DIGITS).astype(np.float32),
            known=self.train.group,
            known_fold=self.fold,
        )


def prints(table: Measured) -> np.ndarray:
    """Fingerprints of all cases, float32 [case, channel, *grid]."""
    shape = table.thumbnail.shape
    known = [_print(small.tobytes(), small.shape) for small in table.thumbnail]
    return np.array(known, np.float32).reshape(shape)


@functools.lru_cache(maxsize=KEPT)
def _print(small: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Of one thumbnail; the same patients are asked for by every control of a run."""
    found = fingerprint(np.frombuffer(small, np.uint8).reshape(shape))
    found.flags.writeable = False
    return found
