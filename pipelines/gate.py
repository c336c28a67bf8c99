"""Stage gate: the verdict on a batch. The stage succeeds whatever it is; only the command line makes exit codes."""

from pipelines import stage
from synthgate import params, places
from synthgate.gate.run import run


def main(name: str) -> None:
    """Write reports/gate/<study>/<batch>: verdict.json and the folder report."""
    everything = params.load()
    batch = everything.batches[name]
    folder, out = places.batch(batch.study, name), places.gate(batch.study, name)
    run(batch.study, everything.studies[batch.study], folder, batch.intent, out, batch.steer.attributes)


if __name__ == "__main__":
    stage(main)
