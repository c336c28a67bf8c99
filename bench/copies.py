"""How many copies of training patients the search finds, kind by kind, and how many strangers it calls one.

Training patients of a study whose `calibrate` has run are manipulated as images, made thumbnails again, and searched
for as cases that declare nobody; a blend is with the next patient. How many strangers are called a copy at the same
rate is told by bench/prove.py. Prints a table and writes OUT/<study>.json.
Usage: python -m bench.copies [--study brain] [--rate 1e-3] [--repeats 2]
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import trials
from bench.trials import Court, Row, percent
from synthgate.cohort.store import StoredCase
from synthgate.errors import SynthgateError
from synthgate.features.manipulate import MANIPULATIONS, Pixels, blended
from synthgate.features.thumbnails import thumbnail
from synthgate.files import write_json
from synthgate.gate.copies import Search
from synthgate.gate.measured import Measured
from synthgate.progress import tracked
from synthgate.stats.membership import smallest_leak

BATCH = 50
"""Cases of the batch that a copy hides in."""


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    study: str = "brain"
    rate: float = 1e-3
    """False positives per case."""
    repeats: int = 1
    """Copies of each training patient, each changed anew."""
    out: Path = Path("reports/bench/copies")


def main(settings: Settings) -> int:
    court = trials.convene(settings.study)
    search = Search(court.tools.reference, None)
    cases = court.store.select("train")
    found: dict[str, Row] = {}
    names = [*MANIPULATIONS, "blended"]
    for name in tracked(names, len(names), "manipulate", "kinds"):
        copied = court.tools.likeness(planted(court, cases, name, settings.repeats))
        suspects = search.suspects(copied, settings.rate)
        suspected, groups = suspects.worst()[2], [group.split(";") for group in copied.group]
        right = [who in group for who, group in zip(suspected, groups, strict=True)]
        hits = suspects.called & np.array(right)
        theirs = [[who in group for who in names] for names, group in zip(suspects.nearest, groups, strict=True)]
        each = (suspects.margin > suspects.limit) & np.array(theirs)
        found[name] = trials.share(int(hits.sum()), len(hits)) | {
            "registered": float(each[:, 0].mean()),
            "blended": float(each[:, 1].mean()),
            "learned": float(each[:, 2:].any(axis=1).mean()),
        }
    print(f"{'copy':16} {'found, by pseudonym':26} registered blended learned  smallest leak of {BATCH}")
    for name, row in found.items():
        bound = smallest_leak(BATCH, row["share"])
        parts = f"{row['registered']:10.0%} {row['blended']:7.0%} {row['learned']:7.0%}"
        print(f"{name:16} {percent(row):26} {parts}  {'undefined' if bound is None else f'{bound:.1%}'}")
    out = {"settings": {k: str(v) for k, v in dataclasses.asdict(settings).items()}, "found": found}
    write_json(settings.out / f"{settings.study}.json", out)
    return 0


def planted(court: Court, train: list[StoredCase], name: str, repeats: int) -> Measured:
    """Every training patient manipulated, `repeats` times, under the names of whoever is behind it."""
    images, groups, rows = [], [], []
    for index, case in enumerate(train):
        ours = Pixels(court.store.image(case), court.store.label(case))
        other = train[(index + 1) % len(train)]
        for repeat in range(repeats):
            if name == "blended":
                changed = blended(ours, Pixels(court.store.image(other), court.store.label(other)))
            else:
                changed = MANIPULATIONS[name](ours, np.random.default_rng([index, repeat]))
            images.append(thumbnail(changed.image))
            groups.append(f"{case.patient};{other.patient}" if name == "blended" else case.patient)
            rows.append(case.case)
    table = trials.of_cases(court.tools.reference, rows)
    people = np.full(len(table), "")
    return dataclasses.replace(table, thumbnail=np.array(images), group=np.array(groups), people=people)


if __name__ == "__main__":
    try:
        sys.exit(main(trials.asked(Settings, __doc__ or "")))
    except SynthgateError as error:
        sys.exit(f"copies: {error}")
