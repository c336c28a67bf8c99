"""What lies before the gate: a measured batch, whom it is compared with, and what is known of both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synthgate.gate.measured import Measured
from synthgate.gate.verdict import Weight
from synthgate.learning.regions import Regions
from synthgate.params import Gate


@dataclass(frozen=True)
class Trial:
    """The one argument of every axis; an axis is a module whose `judge(trial)` gives its findings."""

    batch: Measured
    reference: Measured
    """Real patients: those in training, and unseen ones (validation)."""
    params: Gate
    regions: Regions
    intent: str
    split_of: Mapping[str, str] = field(default_factory=dict)
    """Pseudonym → split, of every patient of the study."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """Digest → pseudonym, of the image of every patient of the study, the hold-out's too."""
    learned_from: tuple[str, ...] = ()
    """Patients on the batch's card; empty for a batch from outside."""
    promised: Mapping[str, Any] | None = None
    """What the batch's card says of a private training of its generator."""
    wish: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Attribute → group → share that the batch was to have; attributes without a wish follow the real patients."""
    rendered: Measured | None = None
    """Training anatomies in random contrasts: what a declared donor may look like. Needed where donors are declared."""
    copied: Measured | None = None
    """Copies of training patients, changed in known ways: they tell how many copies would be found."""

    @property
    def public(self) -> bool:
        """Whether its card and all its cases say that its anatomies are a public source's and nobody's of these."""
        said = isinstance(self.promised, Mapping) and bool(self.promised.get("public")) and not any(self.batch.people)
        return said and all(json.loads(one).get("public") for one in self.batch.attributes)

    @property
    def train(self) -> Measured:
        """The training patients."""
        return self.reference.rows(self.reference.split == "train")

    @property
    def unseen(self) -> Measured:
        """The validation patients, whom no generator has seen."""
        return self.reference.rows(self.reference.split == "validation")

    def weight(self, of_realistic: Weight) -> Weight:
        """What a failure does that is held only against a batch which claims to be realistic."""
        return of_realistic if self.intent == "realistic" else "informs"
