"""Arms: which real patients and which batches each training sees, and the refusal of what would leak."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthgate.cards import Card
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import LineageError
from synthgate.generators.patients import chosen
from synthgate.learning.sampler import Pool
from synthgate.params import Arm, Patients, Study


@dataclass(frozen=True)
class BatchAtHand:
    """A prepared batch with what is known of it."""

    store: Store
    card: Card | None
    """None for a batch from outside, of whose making nothing is known."""
    verdict: str
    """approved, limited, rejected or undecided."""
    proportion: float
    """Largest share of a training that the verdict allows: 1 for approved, 0 for rejected and undecided."""
    thinned: tuple[str, ...] = ()
    """Cases that the verdict leaves out."""

    @property
    def cases(self) -> list[StoredCase]:
        """Those that may be trained on."""
        return [case for case in self.store.cases if case.case not in self.thinned]


@dataclass(frozen=True)
class Training:
    """One training of one arm."""

    arm: str
    draw: int
    seed: int
    patients: tuple[str, ...]
    """Real patients, by pseudonym."""
    foreign: tuple[str, ...]
    """Patients that its batches learned from and who are not among `patients`."""
    pools: tuple[Pool, ...]

    @property
    def name(self) -> str:
        """Its name in scratch and in progress lines."""
        return f"{self.arm}-{self.draw}"


def eligible(arm: Arm, batches: Mapping[str, BatchAtHand]) -> bool:
    """Whether the arm may be released: each of its batches is allowed in the share the arm gives it."""
    return all(share <= batches[name].proportion for name, share in arm.batches.items())


def plan(study: Study, store: Store, batches: Mapping[str, BatchAtHand]) -> list[Training]:
    """All trainings of all arms. Draw d of every arm has the same seed and, for a size, nested subsets.

    Raises LineageError where an arm's batch learned from, or shows the anatomy of, somebody who is not a training
    patient, or where an `own` arm's batch learned from patients who are not the arm's.
    """
    cases = store.select("train")
    split_of = {case.patient: case.split for case in store.cases}
    people = list(dict.fromkeys(case.patient for case in cases))
    trainings = []
    for name, arm in study.arms.items():
        behind = {who for batch in arm.batches for who in _behind(batch, batches[batch], split_of)}
        for draw in range(study.draws):
            seed = study.seed + draw
            patients = chosen(people, Patients(arm.patients, seed))
            foreign = tuple(sorted(behind - set(patients)))
            if arm.regime == "own" and foreign:
                raise LineageError(
                    f"arm {name} has the regime own, but its batches learned from {len(foreign)} patients not its "
                    f"own ({foreign[0]}, …); give its generator the arm's patients, or make the regime donor"
                )
            trainings.append(
                Training(name, draw, seed, patients, foreign, _pools(arm, store, cases, patients, batches))
            )
    return trainings


def _behind(name: str, batch: BatchAtHand, split_of: Mapping[str, str]) -> set[str]:
    """The patients behind a batch, by its card and by its cases; all must be training patients."""
    people = set(batch.card.patients if batch.card else ()) | {who for case in batch.store.cases for who in case.donors}
    for who in sorted(people):
        if split_of.get(who) != "train":
            raise LineageError(
                f"batch {name} derives from patient {who}, who is {split_of.get(who, 'unknown')}, expected train; "
                f"nothing made from held-out patients may be trained on: make the batch again without them"
            )
    return people


def _pools(
    arm: Arm, store: Store, cases: Sequence[StoredCase], patients: Sequence[str], batches: Mapping[str, BatchAtHand]
) -> tuple[Pool, ...]:
    own = set(patients)
    real = 1.0 - sum(arm.batches.values())
    pools = [Pool(batches[name].store, batches[name].cases, share) for name, share in arm.batches.items()]
    if real > 1e-9:
        pools.insert(0, Pool(store, [case for case in cases if case.patient in own], real))
    return tuple(pools)
