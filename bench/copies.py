"""How many copies of training patients the search finds, kind by kind, and how many strangers it calls one.

Every development patient of a store is embedded by encoders cross-fitted as `calibrate` does; then training patients
are manipulated as images, made thumbnails again, and searched for, as a case among 50 that declares nobody. Strangers
are the patients of another store (`--fresh`: freshly simulated ones, say); without one, only the extrapolated rate is
known. Prints a table and writes reports/bench/copies.json.
Usage: python bench/copies.py --build build/brain [--study brain] [--fresh BUILD] [--rate 1e-3] [--repeats 2]
"""

import argparse
import dataclasses
import functools
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

from synthgate import params
from synthgate.cohort.store import Store, StoredCase
from synthgate.features.manipulate import MANIPULATIONS, Pixels, blended
from synthgate.features.thumbnails import thumbnail
from synthgate.files import write_json
from synthgate.gate.copies import Embed, Search, sensitivities
from synthgate.gate.measured import Measured
from synthgate.learning import crossfit, encoder
from synthgate.progress import tracked
from synthgate.stats.membership import smallest_leak

OUT = Path("reports/bench/copies.json")
DEVELOPMENT = ("train", "validation")
BATCH = 50


def main() -> int:
    arguments = parsed()
    row = params.load().studies[arguments.study].calibrate
    store = Store.open(arguments.build)
    cases = store.select(*DEVELOPMENT)
    table = looks(cases, np.array([thumbnail(store.image(case)) for case in cases]))
    fold_of = crossfit.assign([case.patient for case in cases], row.folds, row.seed)
    fold = np.array([fold_of[case.patient] for case in cases])
    start = time.perf_counter()
    networks = [encoder.train(table.thumbnail[fold != f], row.encoder, row.seed + f)[0] for f in range(row.folds)]
    seconds = {"train": time.perf_counter() - start}
    embed = functools.partial(encoder.embed, networks)
    table = dataclasses.replace(table, embedding=embed(table.thumbnail), fold=fold)
    start = time.perf_counter()
    search = Search(table, embed, row.seed)
    seconds["null"] = time.perf_counter() - start
    train = [case for case in cases if case.split == "train"]
    start = time.perf_counter()
    search.suspects(
        dataclasses.replace(search.train.rows(np.arange(BATCH) % len(train)), fold=np.full(BATCH, -1)), 1e-3
    )
    seconds[f"batch of {BATCH}"] = time.perf_counter() - start

    planted = {}
    for name in tracked([*MANIPULATIONS, "blended"], len(MANIPULATIONS) + 1, "manipulate", "kinds"):
        planted[name] = plant(store, train, name, arguments.repeats, embed)
    found = {rate: sensitivities(search, planted, rate) for rate in (arguments.rate, 1e-4)}
    print(
        f"{'manipulation':18} " + " ".join(f"{f'found at {rate:.0e}':>16}" for rate in found) + "  smallest leak of 50"
    )
    for name in planted:
        bound = smallest_leak(BATCH, found[arguments.rate][name])
        told = " ".join(f"{each[name]:16.1%}" for each in found.values())
        print(f"{name:18} {told}  {'undefined' if bound is None else f'{bound:.1%}'}")
    out = {
        "build": arguments.build.name, "patients": len(cases), "training_patients": len(train), "seconds": seconds,
        "sensitivity": {f"{rate:g}": each for rate, each in found.items()}, "false": None,
    }  # fmt: skip
    if arguments.fresh:
        out["false"] = strangers(search, arguments.fresh, embed, arguments.rate)
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    write_json(OUT, out)
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/brain"))
    parser.add_argument("--study", default="brain")
    parser.add_argument("--fresh", type=Path)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--repeats", type=int, default=1)
    return parser.parse_args()


def plant(store: Store, train: list[StoredCase], name: str, repeats: int, embed: Embed) -> Measured:
    """Every training patient manipulated, `repeats` times; a blend is with the next one."""
    images, groups = [], []
    for index, case in enumerate(train):
        ours = Pixels(store.image(case), store.label(case))
        other = train[(index + 1) % len(train)]
        for repeat in range(repeats):
            rng = np.random.default_rng([index, repeat])
            if name == "blended":
                changed = blended(ours, Pixels(store.image(other), store.label(other)))
            else:
                changed = MANIPULATIONS[name](ours, rng)
            images.append(thumbnail(changed.image))
            groups.append(f"{case.patient};{other.patient}" if name == "blended" else case.patient)
    table = looks([case for case in train for _ in range(repeats)], np.array(images))
    nobody = np.full(len(table), "")
    return dataclasses.replace(table, group=np.array(groups), people=nobody, embedding=embed(table.thumbnail))


def strangers(search: Search, fresh: Path, embed: Embed, rate: float) -> dict[str, object]:
    """Cases of another store that are called a copy, with an interval."""
    store = Store.open(fresh)
    images = np.array(
        [thumbnail(store.image(case)) for case in tracked(store.cases, len(store.cases), "fresh", "cases")]
    )
    table = looks(store.cases, images)
    found = search.suspects(dataclasses.replace(table, people=np.full(len(table), ""), embedding=embed(images)), rate)
    called = int(found.called.sum())
    interval = stats.binomtest(called, len(table)).proportion_ci()
    low, high = float(interval.low), float(interval.high)
    print(f"strangers called a copy: {called} of {len(table)} ({low:.2%} to {high:.2%}) at a nominal {rate:.1e}")
    return {"cases": len(table), "called": called, "low": low, "high": high, "nominal": rate}


def looks(cases: list[StoredCase], images: np.ndarray) -> Measured:
    """A table of which only what the search looks at is filled."""
    count = len(cases)
    none, zero = np.zeros((count, 0)), np.zeros(count)
    names = np.array([case.patient for case in cases])
    return Measured(
        case=np.array([case.case for case in cases]), people=names, group=names,
        split=np.array([case.split for case in cases]), content=np.array([case.content for case in cases]),
        descriptors=none, convolution=none, mild_descriptors=none, mild_convolution=none, thumbnail=images,
        outline=none, shape=none, dice=none, inside=zero, constant=zero, foreign=zero,
        embedding=np.zeros((count, 0, 2, 0), np.float32), fold=np.full(count, -1), names=np.zeros(0, str),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
