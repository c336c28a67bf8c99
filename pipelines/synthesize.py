"""Stage synthesize: a batch from a generator, a seed and a wish."""

from pipelines import stage
from synthgate import params, places
from synthgate.cards import inputs_of
from synthgate.cohort import splits
from synthgate.generators.sampling import synthesize
from synthgate.scratch import Scratch


def main(name: str) -> None:
    """Write batches/<study>/<batch>."""
    everything = params.load()
    row = everything.batches[name]
    generator = places.generator(row.generator)
    inputs = inputs_of([generator])
    with Scratch.opened(f"synthesize-{name}", {"params": params.as_plain(row), "inputs": inputs}) as scratch:
        synthesize(
            generator, places.batch(row.study, name), row, name, scratch,
            splits=splits.read(places.splits(row.study)), inputs=inputs, compute=everything.compute,
        )  # fmt: skip


if __name__ == "__main__":
    stage(main)
