"""Which patients a generator learns from, and the refusal of all others."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from synthgate.cohort.store import StoredCase
from synthgate.errors import LineageError, ParamsError
from synthgate.params import Patients

T = TypeVar("T", bound=str)


def chosen(pseudonyms: Sequence[T], patients: Patients) -> tuple[T, ...]:
    """The training patients that a row names, in the order given.

    Each patient's rank comes from `patients.draw` and the place in the list, so subsets of one draw are nested, and
    patients appended later move nobody's rank. Raises ParamsError where the size is not 1..len(pseudonyms).
    """
    if patients.size == "all":
        return tuple(pseudonyms)
    if not 1 <= patients.size <= len(pseudonyms):
        raise ParamsError(
            f"patients.size: expected 1..{len(pseudonyms)} (the training patients there are) or all, "
            f"got {patients.size}; change it in params.yaml"
        )
    ranks = np.random.default_rng(patients.draw).random(len(pseudonyms))
    first = np.sort(np.argsort(ranks, kind="stable")[: patients.size])
    return tuple(pseudonyms[i] for i in first)


def admit(cases: Sequence[StoredCase], patients: Sequence[str]) -> None:
    """Raise LineageError unless every case is a training case of one of `patients`."""
    allowed = set(patients)
    for case in cases:
        if case.split != "train":
            raise LineageError(
                f"case {case.case} of patient {case.patient or '(none)'} is of the split {case.split}; "
                f"a generator learns from training patients only: give it the cases of the split train"
            )
        if case.patient not in allowed:
            raise LineageError(
                f"patient {case.patient} is not among the {len(allowed)} patients this generator may learn from; "
                f"see patients in its row of params.yaml"
            )


def refuse_untrained(patients: Sequence[str], splits: Mapping[str, str], what: str) -> None:
    """Raise LineageError naming the first of `patients` who is not a training patient by the splits table."""
    for patient in patients:
        if (split := splits.get(patient)) != "train":
            raise LineageError(
                f"{what} learned from patient {patient}, who is {split or 'not'} in the splits table, expected train; "
                f"train it again on training patients (`dvc repro`)"
            )
