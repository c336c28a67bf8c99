"""The search for copies: cases that are nearer to one training patient than unseen patients ever are.

Each score is a margin: atanh(similarity to the nearest training patient) − atanh(to the second, or third). `registered`
and `blended` are by images fitted on one another, and learned from nobody; `learned 0` … are by the encoder of a fold,
whose references are the training patients that it did not see, and whose null are the patients of that fold. A case is
a suspect where any score exceeds its limit; the rate of false ones is split over them.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthgate.gate.measured import Measured
from synthgate.stats.tails import tail_limit

CLOSEST = 1 - 1e-6
"""Similarities are cut here, so that an exact copy has a finite margin."""
KNOTS = 6
"""Of the random curve that hides an image's contrast and keeps its anatomy."""
NOTICED = 0.95
"""Share of training patients an exact copy of whom must lie beyond a limit; else the limit can tell nothing."""
FAMILIES = ("registered", "blended", "learned")


@dataclass(frozen=True)
class Suspects:
    """What was found; arrays are [case, score]."""

    margin: np.ndarray
    """NaN where it is undefined."""
    limit: np.ndarray
    """inf where a score can tell nothing."""
    nearest: np.ndarray
    """Pseudonyms."""

    @property
    def called(self) -> np.ndarray:
        """[case] whether any score calls it a copy."""
        return np.asarray((self.margin > self.limit).any(axis=1))

    @property
    def undefined(self) -> np.ndarray:
        """[case] whether no score can tell whether it is a copy of the patient it is nearest to.

        The learned scores know the patients of their folds: together they know all, or they do not count.
        """
        told, usable = np.isfinite(self.margin), np.isfinite(self.margin) & np.isfinite(self.limit)
        learned = usable[:, 2:].any(axis=1) & (usable | ~told)[:, 2:].all(axis=1)
        return np.asarray(~(usable[:, :2].any(axis=1) | learned))

    def worst(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Margin, limit, nearest patient [case] by the score that exceeds its limit by most, or stays least below."""
        beyond = np.where(np.isfinite(self.margin) & np.isfinite(self.limit), self.margin - self.limit, -np.inf)
        place = (np.arange(len(beyond)), beyond.argmax(axis=1))
        return self.margin[place], self.limit[place], self.nearest[place]


class Search:
    """Knows how near patients come who were not copied. Made once per reference, asked often."""

    def __init__(self, reference: Measured, drawn: Measured | None) -> None:
        """`reference` are the development patients; `drawn` training anatomies in other contrasts (`rendered`)."""
        train = reference.rows(reference.split == "train")
        self.columns = np.isin(reference.known, train.group)
        self.folds = np.unique(reference.known_fold)
        self.families = ("registered", "blended", *("learned" for _ in self.folds))
        self._unseen = _by_family(self.families, self._margins(reference, own=False)[0])
        self._copied = _by_family(self.families, self._margins(train)[0])
        self._drawn = None if drawn is None else _by_family(self.families, self._margins(drawn)[0])

    @property
    def null(self) -> tuple[float, float] | None:
        """Between these lie nine in ten of the registered margins of patients who were not copied."""
        values = self._unseen["registered"]
        return (float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95))) if len(values) else None

    def suspects(self, batch: Measured, rate: float) -> Suspects:
        """Judge every case at a false-positive rate per case. Nobody is left out: a copy of a declared donor is one."""
        margin, row = self._margins(batch)
        nearest = np.append(batch.known, "")[row]
        declared = np.array(
            [
                [bool(who) and who in people.split(";") for who in names]
                for names, people in zip(nearest, batch.people, strict=True)
            ],
            bool,
        ).reshape(margin.shape)
        each = [rate / len(FAMILIES) / self.families.count(family) for family in self.families]
        usual, drawn = (
            np.array([self.limit(f, r, theirs) for f, r in zip(self.families, each, strict=True)])
            for theirs in (False, bool(declared.any()))
        )
        return Suspects(margin, np.where(declared, drawn, usual), nearest)

    def limit(self, family: str, rate: float, declared: bool) -> float:
        """The margin that a share `rate` of cases exceed who are nobody's copy; inf where copies would not.

        Whose nearest patient is a declared donor may also resemble them as their anatomy in another contrast does.
        """
        known = [self._unseen[family]]
        if declared:
            known.append(self._drawn[family] if self._drawn else np.zeros(0))
        limits = [tail_limit(values, rate) for values in known]
        if any(value is None for value in limits):
            return math.inf
        highest = max(value for value in limits if value is not None)
        copied = self._copied[family]
        return highest if len(copied) and (copied > highest).mean() >= NOTICED else math.inf

    def _margins(self, table: Measured, own: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """[case, score] margins and columns of the nearest; with `own` false nobody is compared with themselves."""
        out = self.columns if own else self.columns & ~np.equal.outer(table.group, table.known)
        near = np.where(out, table.registered, -np.inf)
        found = [margins(near, table.known, rank) for rank in (1, 2)]
        for fold in self.folds:
            alike = np.where(out & (table.known_fold == fold), table.learned, -np.inf)
            found.append(margins(alike, table.known, 1))
        return np.stack([m for m, _ in found], axis=1), np.stack([row for _, row in found], axis=1)


def margins(alike: np.ndarray, groups: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Per row: atanh of the similarity to the nearest patient − that to the one `rank` places later; the nearest's row.

    `alike` is [row, training case], −inf where they are not compared; `groups` [training case] their patients, each
    counted once. NaN and −1 where there are too few.
    """
    patients, column = np.unique(groups, return_inverse=True)
    if len(patients) <= rank:
        return np.full(len(alike), np.nan), np.full(len(alike), -1)
    best = np.full((len(alike), len(patients)), -np.inf)
    np.maximum.at(best.T, column, alike.T)
    ordered = -np.sort(-best, axis=1)
    known = np.isfinite(ordered[:, rank])
    first, later = (
        np.arctanh(np.clip(np.where(known, ordered[:, place], 0), -CLOSEST, CLOSEST)) for place in (0, rank)
    )
    return np.where(known, first - later, np.nan), np.where(known, alike.argmax(axis=1), -1)


def rendered(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thumbnails uint8 [case, channel, *grid] in random contrasts: what honestly declared donors may look like.

    Each channel goes through a random piecewise linear curve.
    """
    knots = np.linspace(0, 255, KNOTS)
    out = np.empty_like(images)
    for row, small in enumerate(images):
        for channel, values in enumerate(small):
            curve = np.interp(np.arange(256), knots, rng.uniform(1, 255, KNOTS))
            out[row, channel] = np.where(small.max(axis=0) > 0, curve.astype(np.uint8)[values], 0)
    return out


def sensitivity(search: Search, copied: Measured, rate: float) -> float | None:
    """Share of planted copies that are called a copy of the very patient behind them; None where there are none.

    A planted row's `group` names that patient, or several joined by `;`.
    """
    if not len(copied):
        return None
    found = search.suspects(copied, rate)
    names = found.worst()[2]
    right = [name in group.split(";") for name, group in zip(names, copied.group, strict=True)]
    return float(np.mean(found.called & np.array(right, bool)))


def _by_family(families: tuple[str, ...], margin: np.ndarray) -> dict[str, np.ndarray]:
    """Family → its finite margins, those of all folds together."""
    columns = {name: margin[:, [f == name for f in families]].ravel() for name in FAMILIES}
    return {name: values[np.isfinite(values)] for name, values in columns.items()}
