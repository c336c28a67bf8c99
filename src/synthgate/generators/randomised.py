"""The kind `randomised`: random contrast on enriched, recombined anatomies of training patients.

Deliberately of low fidelity: the baseline that every learned generator has to beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgate.generators import contrast
from synthgate.generators.anatomy import Anatomy
from synthgate.generators.contrast import Statistics


@dataclass(frozen=True)
class Randomised:
    """Paints anatomies in random contrast; attributes change nothing."""

    statistics: Statistics
    percentiles: tuple[float, float]

    @classmethod
    def built(cls, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> "Randomised":
        """From the configuration and the tensors that training wrote."""
        tables = (weights[f"contrast.{name}"] for name in ("mean", "sd", "texture", "share"))
        return cls(Statistics(tuple(config["classes"]), *tables), tuple(config["percentiles"]))

    def sample(
        self, anatomies: Sequence[Anatomy], attributes: Sequence[Mapping[str, str]], rng: np.random.Generator
    ) -> list[np.ndarray]:
        """An image [channel, x, y, z] float32 of each anatomy, in the prepared store's convention."""
        return [
            contrast.render(one, contrast.draw(self.statistics, rng), self.statistics.classes, self.percentiles, rng)
            for one in anatomies
        ]
