"""Stage train_generator: a generator, from the training patients that its row names."""

from pipelines import stage
from synthgate import cards, params, places
from synthgate.cards import inputs_of
from synthgate.cohort.store import Store
from synthgate.generators import training
from synthgate.generators.patients import chosen
from synthgate.learning import devices
from synthgate.scratch import Scratch


def main(name: str) -> None:
    """Write models/<generator>."""
    everything = params.load()
    row = everything.generators[name]
    study = everything.studies[row.study]
    build = places.build(row.study)
    store = Store.open(build)
    patients = chosen(list(dict.fromkeys(case.patient for case in store.select("train"))), row.patients)
    cases = [case for case in store.select("train") if case.patient in set(patients)]
    inputs = inputs_of([build])
    key = {"params": params.as_plain(row), "inputs": inputs}
    follows = devices.node(everything.compute) > 0
    with Scratch.opened(f"train_generator-{name}", key, follows=follows) as scratch:
        training.train(
            name, row, study.prepare, store, cases, patients, places.generator(name), scratch,
            reports=places.reports("train_generator", name), regions=dict(study.cohort.regions), inputs=inputs,
            terms=cards.read(build).terms, compute=everything.compute,
        )  # fmt: skip


if __name__ == "__main__":
    stage(main)
