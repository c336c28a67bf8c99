"""Does a generator do what it is asked? Six wishes, measured on the images by instruments that know no generator.

For each wish a batch is made, and so is one without any. Lesions are measured on what the judge model (cross-fitted,
real patients only) finds in the images, never on the label maps that these were made from; site, sex and age by
classifiers of the gate's features, fitted on real development patients. Beside each figure stand the same of the
batch without a wish, of the files themselves, and how right the measurement is on real patients. A wish that the
training patients cannot support is shown refused. `dvc repro` must have run; nothing is written but OUT:
steering.json, steering.md and .scratch, from which a killed run continues.

Usage: python -m bench.steering [--generator NAME] [--cases 48] [--out reports/bench]
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import trials
from bench.report import plain
from bench.trials import CONFIDENCE, Court, Row
from synthgate import params, places
from synthgate.cards import inputs_of
from synthgate.cohort import entries, splits, store
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import ParamsError, SynthgateError
from synthgate.features.head import head_of
from synthgate.files import digest_all, read_json, write_json, write_text
from synthgate.gate import measured
from synthgate.generators.sampling import synthesize
from synthgate.generators.shape import Shape, shape_of, voxel_ml
from synthgate.learning.regions import to_label
from synthgate.params import Batch, Steer
from synthgate.progress import tracked
from synthgate.scratch import Scratch

PIECE_ML = 1.0
"""Volume from which a piece of what the judge model finds counts as a lesion."""
RESAMPLES = 2000
FOLDS = 5


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    generator: str = "randomised"
    cases: int = 48
    seed: int = 11
    out: Path = Path("reports/bench")


@dataclass(frozen=True)
class Look:
    """What is measured of a case: on its image, and on its files."""

    seen: Shape
    """Of what the judge model finds in the image."""
    told: Shape
    """Of the label."""
    features: np.ndarray
    people: tuple[str, ...]
    attributes: Mapping[str, str]
    split: str


@dataclass(frozen=True)
class Question:
    """Asked of a lesion as seen, and as told: what, and the answer; None where there is none."""

    what: str
    ask: Callable[[Shape, float], bool | None]
    """(shape, least volume of the innermost region that is taken for real) → yes or no."""


WHOLE, INNER = "WT", "ET"
TINY = (0.5, 3.0)
AGE, OLD = "70..", 70.0


def all_of(shape: Shape, side: str | None, lobe: str | None) -> bool | None:
    """Of the largest lesion seen; None where there is none."""
    place = shape.lesions[0] if shape.lesions else None
    return None if place is None else place[0] == (side or place[0]) and place[1] == (lobe or place[1])


VOLUME = Question("whole lesion of 0.5 to 3 ml", lambda shape, _: TINY[0] <= shape.volume_ml[WHOLE] <= TINY[1])
LEFT = Question("largest lesion left", lambda shape, _: all_of(shape, "left", None))
TEMPORAL = Question("largest lesion temporal", lambda shape, _: all_of(shape, None, "temporal"))
PLAIN = Question("no enhancement", lambda shape, least: shape.volume_ml[INNER] < least)
TWO = Question("two lesions", lambda shape, _: len(shape.lesions) == 2)
WISHES: Mapping[str, tuple[Steer, Sequence[Question], Sequence[str]]] = {
    "tiny lesions": (Steer(volume_ml={WHOLE: TINY}), [VOLUME], []),
    "left temporal": (Steer(hemisphere={"left": 1}, lobe={"temporal": 1}), [LEFT, TEMPORAL], []),
    "no enhancement": (Steer(absent={INNER: 1}), [PLAIN], []),
    "only site B": (Steer(attributes={"site": {"B": 1}}), [], ["site"]),
    "female over 70": (Steer(attributes={"sex": {"F": 1}, "age": {AGE: 1}}), [], ["sex", "age"]),
    "two lesions": (Steer(lesions={2: 1}), [TWO], []),
}
"""Name → wish, questions of the lesion, attributes."""
IMPOSSIBLE = Steer(lobe={"infratentorial": 1})
NOTHING = "nothing"


def main(settings: Settings) -> int:
    folder = places.generator(settings.generator)
    known = params.load().generators
    if settings.generator not in known:
        raise ParamsError(f"--generator: expected one of {', '.join(known)}, got {settings.generator!r}")
    study = known[settings.generator].study
    court = trials.convene(study)
    judged = [places.build(study), places.judges(study)]
    code = digest_all([Path(__file__)])
    key = {"inputs": inputs_of([folder, *judged]), "code": code, "seed": settings.seed, "cases": settings.cases}
    root = settings.out / ".scratch"
    with Scratch.opened("steering-real", {"inputs": inputs_of(judged), "code": code}, root=root) as scratch:
        real = looks(court, court.store, court.store.select("train", "validation"), scratch, "real patients")
    with Scratch.opened(f"steering-{settings.generator}", key, root=root) as scratch:
        make = functools.partial(batch, court, settings, study, scratch)
        plain_batch = make(NOTHING, Steer())
        batches = {name: make(name, steer) for name, (steer, _, _) in WISHES.items()}
        refused = refusal(settings, study, scratch)
    found = {"rows": rows(batches, plain_batch, real), "refused": refused}
    write_json(settings.out / "steering.json", {"settings": plain(dataclasses.asdict(settings))} | found)
    text = markdown(found, settings)
    write_text(settings.out / "steering.md", text)
    print(text)
    print(f"written: {settings.out / 'steering.json'}, {settings.out / 'steering.md'}")
    return 0


# --- batches and looks


def batch(court: Court, settings: Settings, study: str, scratch: Scratch, name: str, steer: Steer) -> list[Look]:
    """Make a batch, prepare it as the gate does, look at it."""
    home = scratch.within(name.replace(" ", "-"))
    made = home.once("batch", lambda out: made_to(settings, study, home, out, steer))
    prepared = home.once(
        "store",
        lambda out: store.write(
            out, entries.synthetic(made, study), court.store.channels, court.row.prepare, home.within("shards")
        ),
    )
    opened = Store.open(prepared)
    return looks(court, opened, opened.cases, home, f"look at {name}")


def made_to(settings: Settings, study: str, scratch: Scratch, out: Path, steer: Steer) -> None:
    generator = places.generator(settings.generator)
    row = Batch(study, settings.generator, settings.cases, settings.seed, "training-only", steer)
    synthesize(
        generator, out, row, "steered", scratch.within("cases"),
        splits=splits.read(places.splits(study)), inputs=inputs_of([generator]),
    )  # fmt: skip


def refusal(settings: Settings, study: str, scratch: Scratch) -> str:
    """Why an impossible wish is refused."""
    try:
        made_to(settings, study, scratch.within("impossible"), scratch.path / "impossible" / "batch", IMPOSSIBLE)
    except ParamsError as error:
        return str(error)
    raise SynthgateError("a wish that no training patient supports was not refused")


def looks(court: Court, where: Store, cases: Sequence[StoredCase], scratch: Scratch, what: str) -> list[Look]:
    """Look at the cases one by one, each a piece of scratch."""
    home = scratch.within("looks")
    pieces = [
        home.once(f"{case.case}.json", functools.partial(look, court, where, case))
        for case in tracked(cases, len(cases), what, "cases")
    ]
    return [
        Look(
            shape(piece["seen"]), shape(piece["told"]), np.array(piece["features"], float), case.people,
            case.attributes, case.split,
        )
        for case, piece in zip(cases, map(read_json, pieces), strict=True)
    ]  # fmt: skip


def look(court: Court, where: Store, case: StoredCase, path: Path) -> None:
    regions, image, spacing = court.row.cohort.regions, where.image(case), case.geometry.spacing_mm
    head, fewest = head_of(image), PIECE_ML / voxel_ml(spacing)
    seen = to_label(court.tools.judge.predict(image, case.people), regions)
    table = measured.measure(where, case, regions, court.tools.spaces, None)
    write_json(
        path,
        {
            "seen": dataclasses.asdict(shape_of(seen, head, regions, spacing, fewest)),
            "told": dataclasses.asdict(shape_of(where.label(case), head, regions, spacing)),
            "features": [float(value) if np.isfinite(value) else None for value in features(table)[0]],
        },
    )


def features(table: measured.Measured) -> np.ndarray:
    """[case, feature] what classifiers of attributes see: descriptors and convolution features."""
    return np.hstack([table.descriptors, table.convolution])


def shape(value: Mapping[str, Any]) -> Shape:
    return Shape(value["volume_ml"], tuple((side, lobe) for side, lobe in value["lesions"]))


# --- what they show


def rows(batches: Mapping[str, Sequence[Look]], without: Sequence[Look], real: Sequence[Look]) -> list[Row]:
    """A row per measured quantity: by the files, on the images, without a wish, and the measure's own worth."""
    least = threshold([one for one in real if one.split == "train"])
    unseen = [one for one in real if one.split == "validation"]
    out: list[Row] = []
    for name, (_, questions, attributes) in WISHES.items():
        some = batches[name]
        for question in questions:
            told = [question.ask(one.told, 1e-9) for one in some]
            out.append({
                "wish": name, "measure": question.what, "files": float(np.mean([bool(value) for value in told])),
                "steered": share([question.ask(one.seen, least) for one in some], some),
                "unsteered": share([question.ask(one.seen, least) for one in without], without),
                "own": right(question, without, least),
                "real": right(question, unseen, least), "real_is": "right on unseen patients",
            })  # fmt: skip
        if questions and questions[0] is VOLUME:
            out.append({
                "wish": name, "measure": "whole lesion, median ml",
                "files": float(np.median([one.told.volume_ml[WHOLE] for one in some])),
                "steered": middle([one.seen.volume_ml[WHOLE] for one in some], some),
                "unsteered": middle([one.seen.volume_ml[WHOLE] for one in without], without),
                "own": ratio(without), "real": ratio(unseen), "real_is": "seen / true on unseen patients",
            })  # fmt: skip
        for attribute in attributes:
            out += by_attribute(name, attribute, some, without, real)
    return out


def ratio(some: Sequence[Look]) -> Row:
    """Volume of the whole lesion as seen, to that of the label."""
    sick = [one for one in some if one.told.volume_ml[WHOLE]]
    return middle([one.seen.volume_ml[WHOLE] / one.told.volume_ml[WHOLE] for one in sick], sick)


def threshold(known: Sequence[Look]) -> float:
    """Volume of the innermost region from which the judge model is believed: best in training patients, out of fold."""
    seen = np.array([one.seen.volume_ml[INNER] for one in known])
    there = np.array([one.told.volume_ml[INNER] > 0 for one in known])
    tried = np.unique(np.append(seen[seen > 0], 1e-9))
    worth = [((seen >= least)[there].mean() + (seen < least)[~there].mean()) for least in tried]
    return float(tried[int(np.argmax(worth))])


def right(question: Question, unseen: Sequence[Look], least: float) -> Row:
    """Share of unseen patients of whom what is seen is what is true."""
    pairs = [(question.ask(one.seen, least), question.ask(one.told, 1e-9)) for one in unseen]
    known = [(seen, true) for seen, true in pairs if true is not None]
    return trials.share(sum(seen == true for seen, true in known), len(known))


def by_attribute(
    name: str, attribute: str, some: Sequence[Look], without: Sequence[Look], real: Sequence[Look]
) -> list[Row]:
    """Site and sex by a logistic regression, age by a ridge regression; each with its worth out of fold."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = [one for one in real if one.attributes.get(attribute)]
    x, texts = np.stack([one.features for one in known]), np.array([one.attributes[attribute] for one in known])
    ours, others = (np.stack([one.features for one in part]) for part in (some, without))
    row: Row = {"wish": name}
    if attribute == "age":
        model = make_pipeline(SimpleImputer(), StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
        ages = texts.astype(float)
        error = np.abs(cross_val_predict(model, x, ages, cv=FOLDS) - ages)
        model.fit(x, ages)
        told = [float(one.attributes["age"]) for one in some]
        off = np.median(np.abs(ages - np.median(ages)))

        def guess(features: np.ndarray) -> np.ndarray:
            return np.clip(model.predict(features), ages.min(), ages.max())

        return [row | {
            "measure": "age, median years", "files": float(np.median(told)),
            "steered": middle(guess(ours), some), "unsteered": middle(guess(others), without),
            "real": middle(error, known), "real_is": f"years off, out of fold (always the median age: {off:.0f})",
        }]  # fmt: skip
    [group] = WISHES[name][0].attributes[attribute]
    model = make_pipeline(
        SimpleImputer(), StandardScaler(), LogisticRegressionCV(Cs=8, cv=FOLDS, max_iter=2000, l1_ratios=(0.0,))
    )
    hits = cross_val_predict(model, x, texts, cv=FOLDS) == texts
    model.fit(x, texts)
    often = max(np.unique(texts, return_counts=True)[1]) / len(texts)
    return [row | {
        "measure": f"{attribute} {group}",
        "files": float(np.mean([one.attributes[attribute] == group for one in some])),
        "steered": share(list(model.predict(ours) == group), some),
        "unsteered": share(list(model.predict(others) == group), without),
        "real": trials.share(int(hits.sum()), len(hits)), "real_is": f"right out of fold (the commonest: {often:.0%})",
    }]  # fmt: skip


def share(answers: Sequence[bool | None], of: Sequence[Look]) -> Row:
    """Share of yes, of all cases; the interval counts a head once however many cases have it."""
    heads = len({one.people[0] for one in of})
    return trials.share(sum(bool(value) for value in answers), len(answers), min(heads, len(answers)))


def middle(values: Sequence[float] | np.ndarray, of: Sequence[Look]) -> Row:
    """Median with a bootstrap interval over heads."""
    groups = np.array([one.people[0] for one in of])
    parts = [np.asarray(values, float)[groups == group] for group in np.unique(groups)]
    rng = np.random.default_rng(0)
    drawn = [
        np.median(np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high), "of": len(values)}


def markdown(found: Mapping[str, Any], settings: Settings) -> str:
    """The table for people."""

    def told(value: Mapping[str, Any]) -> str:
        if "share" in value:
            return trials.percent(value)
        return f"{value['median']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"

    lines = []
    for row in found["rows"]:
        by_files = f"{row['files']:.0%}" if "share" in row["steered"] else f"{row['files']:.3g}"
        own = told(row["own"]) if "own" in row else "–"
        shown = (told(row["steered"]), told(row["unsteered"]), own, f"{told(row['real'])}, {row['real_is']}")
        lines.append((row["wish"], row["measure"], by_files, *shown))
    head = (
        "wish",
        "measured",
        "by the files",
        "on the images",
        "without a wish",
        "right there",
        "the measure on real patients",
    )
    return "\n".join([
        f"# What the generator {settings.generator} does of what it is asked, {settings.cases} cases a wish\n",
        "On the images: lesions as the judge model finds them, attributes by classifiers of real patients. Intervals "
        "are 95 %: Clopper and Pearson's with as many cases as there are different heads; of medians, by bootstrap "
        "over heads. *Right there*: the same measure against the labels of the batch without a wish (of volume: seen / "
        "true), which tells a generator that disobeys from one whose images the judge model cannot read.\n",
        trials.table(head, lines),
        f"Refused: `lobe: infratentorial`. It says: {found['refused']}\n",
    ])  # fmt: skip


if __name__ == "__main__":
    try:
        sys.exit(main(trials.asked(Settings, __doc__ or "")))
    except SynthgateError as error:
        sys.exit(f"steering: {error}")
