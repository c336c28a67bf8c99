"""The study: train every arm, score it on validation, cross-validate real-only training over development."""

import csv
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from synthgate import cards, places
from synthgate.cohort import entries, store
from synthgate.cohort.store import Store, StoredCase
from synthgate.errors import ArtefactError
from synthgate.files import read_json, replacing, write_json
from synthgate.gate.verdict import Verdict
from synthgate.learning import crossfit, weights
from synthgate.learning.fitting import trained
from synthgate.learning.sampler import Sampler
from synthgate.learning.scoring import Overlap, score
from synthgate.learning.segmenter import build, predict
from synthgate.params import Params, StudyRow, as_plain
from synthgate.progress import tracked
from synthgate.scratch import Scratch
from synthgate.study.arms import BatchAtHand, Training
from synthgate.study.evidence import Score, scores_of

CROSS_VALIDATION = "cross_validation"
"""The arm's name under which out-of-fold scores of development patients stand."""


def batches_at_hand(params: Params, study: str, scratch: Scratch) -> dict[str, BatchAtHand]:
    """Prepare the study's batches, with cards and verdicts; raises ArtefactError for a folder that is no row."""
    row = params.studies[study]
    rows = [name for name, batch in params.batches.items() if batch.study == study]
    home = places.batch(study, "")
    orphans = sorted({folder.name for folder in home.glob("*") if folder.is_dir()} - set(rows))
    if orphans:
        raise ArtefactError(
            f"{home / orphans[0]} is no row under `batches` in params.yaml; add its row (study: {study}), or remove "
            f"the folder, so that nothing is trained on unseen"
        )
    found = {}
    for name in rows:
        folder = places.batch(study, name)
        entered = entries.synthetic(folder, study)
        write = functools.partial(
            store.write, entries=entered, channels=row.cohort.channels, params=row.prepare, scratch=scratch.within(name)
        )
        made = scratch.once(f"batch-{name}", write)
        verdict = Verdict.read(places.gate(study, name) / "verdict.json")
        card = cards.read(folder) if (folder / cards.NAME).is_file() else None
        found[name] = BatchAtHand(Store.open(made), card, verdict.verdict, verdict.proportion, verdict.thinned)
    return found


def run_arm(training: Training, row: StudyRow, real: Store, scratch: Scratch) -> tuple[Path, list[Score]]:
    """Train once and score every validation case; returns the folder of the weights, and the scores."""
    regions, params = row.cohort.regions, row.study.segmenter
    sampler = Sampler(training.pools, regions, params, training.seed)
    folder = trained(scratch, training.name, sampler, len(real.channels))
    network = weights.load(build(params, len(real.channels), len(regions)), folder)
    answer = functools.partial(predict, network, params=params)
    cases = real.select("validation")
    return folder, _scored(scratch, training, cases, lambda case: score(answer, real, case, regions))


def cross_validate(study: str, row: StudyRow, real: Store) -> list[Score]:
    """Out-of-fold scores of real-only training over all development patients; empty where `folds` is 0.

    It has a scratch folder of its own, so that another batch or another verdict does not train its folds again.
    """
    if not row.study.folds:
        return []
    regions, params = row.cohort.regions, row.study.segmenter
    cases = real.select("train", "validation")
    key = {
        "segmenter": as_plain(params),
        "folds": [row.study.folds, row.study.seed],
        "regions": [*regions.items()],
        "build": cards.read(real.folder).content,
    }
    with Scratch.opened(f"cross_validation-{study}", key, rooms=("learning",)) as scratch:
        fold_of = crossfit.assign([case.patient for case in cases], row.study.folds, row.study.seed)
        folders = crossfit.cross_fit(real, cases, regions, params, fold_of, row.study.seed, scratch)
        fitted = crossfit.load(folders, fold_of, len(real.channels), len(regions), params)
        return _scored(
            scratch,
            Training(CROSS_VALIDATION, 0, row.study.seed, tuple(fold_of), (), ()),
            cases,
            lambda case: score(functools.partial(fitted.predict, people=case.people), real, case, regions),
        )


def _scored(
    scratch: Scratch,
    training: Training,
    cases: Sequence[StoredCase],
    score_of: Callable[[StoredCase], Mapping[str, Overlap]],
) -> list[Score]:
    def make(path: Path) -> None:
        shown = tracked(cases, len(cases), f"score {training.name}", "volumes")
        found = [scores_of(training.arm, training.draw, case.patient, score_of(case)) for case in shown]
        write_json(path, [asdict(score) for scores in found for score in scores])

    return [Score(**row) for row in read_json(scratch.once(f"scores-{training.name}.json", make))]


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write the scores per patient as CSV; undefined ones have an empty cell."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["arm", "draw", "patient", "region", "dice", "false_voxels"])
        for s in scores:
            dice = None if s.dice is None else f"{s.dice:.6f}"
            writer.writerow([s.arm, s.draw, s.patient, s.region, dice, s.false_voxels])
