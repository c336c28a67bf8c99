"""Stage release: one candidate, chosen on validation, measured once on the hold-out, bundled with its manifest."""

import functools

from pipelines import stage
from synthgate import cards, params, places
from synthgate.cards import Card, inputs_of
from synthgate.cohort.store import Store
from synthgate.files import digest, read_json, write_json
from synthgate.gate.verdict import Verdict
from synthgate.learning import weights
from synthgate.learning.scoring import score
from synthgate.learning.segmenter import build, predict
from synthgate.registry import bundle, holdout, manifest, release


def main(study: str) -> None:
    """Write releases/<study>, reports/release/<study> and, for real patients, the hold-out's ledger."""
    row = params.load().studies[study]
    regions = row.cohort.regions
    metrics = read_json(places.reports("study", study) / "metrics.json")
    choice = release.choose(row, metrics, {name: metrics[name]["eligible"] for name in row.release.candidates})
    folder = places.candidates(study) / choice.arm
    store = Store.open(places.build(study))
    network = weights.load(build(row.study.segmenter, len(store.channels), len(regions)), folder)
    k = holdout.opened(places.ledger(study), digest(folder / weights.NAME), row.cohort.simulated)
    answer = functools.partial(predict, network, params=row.study.segmenter)
    measured = release.measure(
        store.select("hold-out"),
        lambda case: score(answer, store, case, regions),
        list(regions),
        row.study.confidence,
        k,
    )
    arm = row.study.arms[choice.arm]
    used = {}
    for name, share in arm.batches.items():
        path = places.gate(study, name) / "verdict.json"
        used[name] = manifest.BatchUse(share, Verdict.read(path).verdict, digest(path))
    everything = params.load()
    generators = {everything.batches[name].generator for name in arm.batches}
    behind = [
        places.build(study), places.candidates(study), places.judges(study),
        *map(places.generator, sorted(generators)), *(places.batch(study, name) for name in arm.batches),
    ]  # fmt: skip
    patients = {split: [c.patient for c in store.select(split)] for split in ("train", "validation", "hold-out")}
    raw = bundle.weights_of(network)
    made = manifest.build(
        study=study, row=row, arm=choice.arm, weights=raw, artefacts=behind, batches=used, patients=patients,
        validation=metrics[choice.arm], hold_out=measured | {"opening": k}, decision=choice.decision,
    )  # fmt: skip
    card = cards.read(places.candidates(study))
    out = places.release(study)
    bundle.write(
        out, bundle.Settings.of(study, row), raw, made,
        Card("release", study, study, card.patients, params.as_plain(row.release), inputs_of(behind), made.terms),
    )  # fmt: skip
    write_json(
        places.reports("release", study) / "metrics.json",
        {"arm": choice.arm, "decision": choice.decision, "manifest": manifest.manifest_id(made), "hold_out": measured},
    )


if __name__ == "__main__":
    stage(main)
