"""Planted defects: what the gate must notice, and by which axis. The right verdict on each is known.

Image-level ones are measured once, by `calibrate`; the others are made of the measured rows. None of these kinds sets
a tolerance.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synthgate.features import degrade, manipulate
from synthgate.gate.measured import Change, Measured, stack
from synthgate.gate.verdict import Axis, Decision

MOST = 24
"""Unseen patients that a defect of pixels is planted in."""
COPIES = 5
"""Copies among the cases of a batch of copies, and broken ones among the cases of a broken batch."""
COPIED = 10
"""Training patients copied, to measure how many of them are found."""


@dataclass(frozen=True)
class Plant:
    """A defect at one severity."""

    kind: str
    axis: Axis
    severity: float
    declared: bool = True
    """Whether the gate must notice it at this severity; others show where it begins to."""
    expects: Decision = "rejected"

    @property
    def name(self) -> str:
        """Its name among files."""
        return f"{self.kind}-{self.severity:g}"


@dataclass(frozen=True)
class ImagePlant(Plant):
    """A defect of the pixels, planted in the patients of a split."""

    of: str = "validation"
    most: int = MOST
    """Patients it is planted in."""

    def change(self, seed: int) -> Change:
        """The change of one case's pixels, random by the seed and by what it is given."""
        return functools.partial(_changed, self.kind, self.severity, seed)


def _changed(
    kind: str, severity: float, seed: int, image: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, int(label.sum()), int((image > 0).sum())])
    if kind in degrade.DEGRADES:
        return degrade.DEGRADES[kind](image, label, severity, rng)
    changes: Mapping[str, manipulate.Manipulation] = {
        "mirrored_copies": manipulate.mirrored,
        "shifted_copies": functools.partial(manipulate.shifted, share=severity),
        "rotated_copies": functools.partial(manipulate.rotated, degrees=severity),
    }
    found = changes[kind](manipulate.Pixels(image, label), rng)
    return found.image, found.label


def _graded(kind: str, axis: Axis, severities: tuple[float, ...], declared: float) -> list[ImagePlant]:
    return [ImagePlant(kind, axis, severity, severity == declared) for severity in severities]


TO_MEASURE: tuple[ImagePlant, ...] = (
    *_graded("noise", "drift", (2, 4), 4),
    *_graded("blur", "drift", (0.35, 0.5), 0.5),
    *_graded("gamma", "drift", (0.9, 0.8), 0.8),
    *_graded("dilated_labels", "drift", (1, 2), 2),
    ImagePlant("wrong_labels", "agreement", 0.3),
    ImagePlant("swapped_channels", "drift", 1),
    ImagePlant("upside_down", "drift", 1),
    ImagePlant("mirrored_copies", "privacy", 1, of="train", most=COPIED),
    ImagePlant("shifted_copies", "privacy", 0.05, of="train", most=COPIED),
    ImagePlant("rotated_copies", "privacy", 5, of="train", most=COPIED),
)
"""Defects of pixels; noise in grey levels, blur and dilation in pixels, shifts in widths, rotation in degrees."""

Plan = Callable[[Measured, Measured], Measured | None]
"""(training patients, unseen patients as a batch) → the spoiled batch; None where the patients at hand allow none."""


def some_are(copies: Measured, unseen: Measured) -> Measured:
    """The first cases of the batch replaced by copies of training patients, under names of their own."""
    count = min(COPIES, len(copies), len(unseen))
    there = unseen.rows(np.arange(count))
    again = dataclasses.replace(
        copies.rows(np.arange(count)), case=there.case, group=there.group, people=there.people,
        content=there.content, split=there.split,
    )  # fmt: skip
    return stack([again, unseen.rows(np.arange(count, len(unseen)))])


def collapsed(train: Measured, unseen: Measured) -> Measured | None:
    """Three cases over and over."""
    again = unseen.rows(np.arange(len(unseen)) % 3)
    return dataclasses.replace(again, case=unseen.case, group=unseen.group, content=unseen.content)


def one_site(train: Measured, unseen: Measured) -> Measured | None:
    """Nobody but the patients of one site."""
    return _only("site", train, unseen)


def one_sex(train: Measured, unseen: Measured) -> Measured | None:
    """Nobody but the patients of one sex."""
    return _only("sex", train, unseen)


def _only(name: str, train: Measured, unseen: Measured) -> Measured | None:
    """The group whose being alone would be the least likely by chance, if there are several and it is no handful."""
    ours, theirs = (np.array([json.loads(text).get(name, "") for text in t.attributes]) for t in (unseen, train))
    names, counts = np.unique(ours[ours != ""], return_counts=True)
    if len(names) < 2 or counts.max() < COPIES:
        return None
    chances = np.array([(theirs == group).mean() for group in names]) ** counts
    return unseen.rows(ours == names[np.where(counts >= COPIES, chances, np.inf).argmin()])


def no_small_lesions(train: Measured, unseen: Measured) -> Measured | None:
    """The smaller half of the lesions is gone, and so are the patients without any."""
    share = unseen.descriptors[:, [str(name).endswith("_share") for name in unseen.names]][:, 0]
    return unseen.rows(share > np.median(share)) if np.ptp(share) > 0 else None


def exact_copies(train: Measured, unseen: Measured) -> Measured | None:
    """Training patients as they are, written anew."""
    return some_are(train, unseen)


def one_copy(train: Measured, unseen: Measured) -> Measured | None:
    """A single training patient, who is to be found by name and left out."""
    return stack([some_are(train, unseen).rows(np.arange(1)), unseen.rows(np.arange(1, len(unseen)))])


def undeclared_shapes(train: Measured, unseen: Measured) -> Measured | None:
    """Lesions in the shape of training patients whom the cases do not declare."""
    shaped = np.flatnonzero(train.shape.any(axis=(1, 2, 3)))
    count = min(COPIES, len(shaped) - 1, len(unseen))
    if count < 1:
        return None
    shape, people = unseen.shape.copy(), unseen.people.astype(object)
    shape[:count] = train.shape[shaped[:count]]
    people[:] = train.group[shaped[-1]]
    return dataclasses.replace(unseen, shape=shape, people=people.astype(str))


def duplicates(train: Measured, unseen: Measured) -> Measured | None:
    """The same image under several names."""
    return _column(unseen, "content", unseen.content[0])


def unknown_labels(train: Measured, unseen: Measured) -> Measured | None:
    """Label values that the study does not know."""
    return _column(unseen, "foreign", 5)


def constant_channels(train: Measured, unseen: Measured) -> Measured | None:
    """A channel that is the same everywhere."""
    return _column(unseen, "constant", 1)


def lesions_off_the_head(train: Measured, unseen: Measured) -> Measured | None:
    """Half of the lesion lies outside the head."""
    return _column(unseen, "inside", 0.5)


def _column(table: Measured, name: str, value: object) -> Measured:
    column = vars(table)[name].copy()
    column[:COPIES] = value
    return dataclasses.replace(table, **{name: column})


ROW_PLANTS: tuple[tuple[Plant, Plan], ...] = (
    (Plant("exact_copies", "privacy", COPIES), exact_copies),
    (Plant("one_copy", "privacy", 1, expects="limited"), one_copy),
    (Plant("undeclared_shapes", "privacy", COPIES), undeclared_shapes),
    (Plant("collapsed", "diversity", 3), collapsed),
    (Plant("one_site", "fairness", 1, expects="limited"), one_site),
    (Plant("one_sex", "fairness", 1, expects="limited"), one_sex),
    (Plant("no_small_lesions", "drift", 0.5), no_small_lesions),
    (Plant("duplicates", "contract", COPIES), duplicates),
    (Plant("unknown_labels", "contract", COPIES), unknown_labels),
    (Plant("constant_channels", "contract", COPIES), constant_channels),
    (Plant("lesions_off_the_head", "contract", COPIES), lesions_off_the_head),
)
"""Defects made of measured rows; severity is the number of cases, or the share that is gone."""
SURE = ("exact_copies", "one_copy", "duplicates", "unknown_labels", "constant_channels", "lesions_off_the_head")
"""Kinds of which none may be missed."""
