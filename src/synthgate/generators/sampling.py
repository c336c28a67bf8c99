"""A batch from a generator: a cohort folder of images and labels, with a provenance row per case."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from synthgate import cards, workers
from synthgate.cards import Card
from synthgate.cohort.case import Volume
from synthgate.cohort.folder import write_case, write_table
from synthgate.cohort.identity import PUBLIC
from synthgate.errors import LineageError
from synthgate.files import read_json, replacing, write_json
from synthgate.generators.anatomy import ATTRIBUTES, Anatomy
from synthgate.generators.generator import Generator, load
from synthgate.generators.patients import refuse_untrained
from synthgate.generators.shape import Shape, shape_of
from synthgate.generators.support import delivered, supported
from synthgate.params import ALONE, Batch, Compute, as_plain
from synthgate.progress import tracked
from synthgate.scratch import Scratch

COLUMNS = ("case_id", "patient_id", "study", "generator", "seed", "intent", "donors", "public", *ATTRIBUTES)
SCALE = 1000
"""Prepared intensity 1 in a written image, which holds integers."""
DARKEST = 300
"""Prepared intensity 0 within the head: far enough above the background for every reader to tell them apart."""


def synthesize(
    generator_folder: Path,
    out: Path,
    batch: Batch,
    name: str,
    scratch: Scratch,
    *,
    splits: Mapping[str, str],
    inputs: Mapping[str, str],
    compute: Compute = ALONE,
) -> None:
    """Write the batch `name` to the folder `out`, with its card.

    Case i is a function of the batch's seed and i alone; several devices of this machine each make some of them.
    `splits` is the study's table, pseudonym → split. Raises LineageError where the generator is of another study,
    learned from anyone but training patients, or holds an anatomy of a patient it does not declare, and ParamsError for
    a wish that its training patients cannot support; nothing is written then.
    """
    generator = load(generator_folder, compute.accelerator)
    if generator.card.study != batch.study:
        raise LineageError(
            f"batch {name} is of study {batch.study}, but {generator_folder} of study {generator.card.study}; "
            f"name a generator of that study in params.yaml"
        )
    refuse_untrained(generator.card.patients, splits, str(generator_folder))
    behind = supported(generator.anatomies.people, batch.steer, batch.cases, batch.seed)
    if compute.devices != 1:
        from synthgate.learning import devices  # torch takes seconds

        if devices.count(compute) > 1:
            alone = dataclasses.replace(compute, num_nodes=1)
            devices.on_each(_share, alone, generator_folder, compute, batch, name, scratch)

    def piece_of(index: int) -> Path:
        return scratch.once(_piece(name, index), _maker(generator, batch, name, index))

    made = workers.each(piece_of, range(batch.cases))
    pieces = list(tracked(made, batch.cases, f"synthesize {name}", "cases"))
    rows = [read_json(piece / "row.json") for piece in pieces]
    shapes = [Shape(**read_json(piece / "shape.json")) for piece in pieces]
    people = [row.get("public", row["donors"]).split(";") for row in rows]
    facts = {
        "cases": batch.cases,
        "heads": len({donors[0] for donors in people}),
        "lesions": len({name for donors in people for name in donors[1:] or donors}),
        "intent": batch.intent,
        "wished": {key: value for key, value in as_plain(batch.steer).items() if value},
        "delivered": delivered(batch.steer, shapes, rows),
        "steer": behind,
    }
    facts |= {key: generator.card.facts[key] for key in ("paints", "privacy") if key in generator.card.facts}
    with replacing(out) as beside:
        beside.mkdir()
        for piece, row in zip(pieces, rows, strict=True):
            shutil.copytree(piece / row["case_id"], beside / row["case_id"])
        write_table(beside, [{key: row[key] for key in COLUMNS if key in row} for row in rows])
        cards.write(
            beside,
            Card("synthesize", name, batch.study, generator.card.patients, as_plain(batch), inputs,
                 generator.card.terms, facts),
        )  # fmt: skip


def _share(rank: int, folder: Path, compute: Compute, batch: Batch, name: str, scratch: Scratch) -> None:
    """The cases of one of this machine's devices, as pieces of `scratch`."""
    from synthgate.learning import devices

    generator, mine = load(folder, compute.accelerator), range(rank, batch.cases, devices.count(compute))
    for index in mine if rank else tracked(mine, len(mine), f"synthesize {name}, first device", "cases"):
        scratch.once(_piece(name, index), _maker(generator, batch, name, index))


def _piece(name: str, index: int) -> str:
    return f"{name}-{index:04d}"


def _maker(generator: Generator, batch: Batch, name: str, index: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        anatomy = generator.anatomies.anatomy(index, batch.seed, batch.steer)
        [image] = generator.sample([anatomy], [anatomy.attributes], np.random.default_rng([batch.seed, index, 1]))
        case_id = _piece(name, index)
        write_case(folder, case_id, volume_of(anatomy, image, generator.channels))
        row = {
            "case_id": case_id, "patient_id": f"synthetic-{case_id}", "generator": batch.generator,
            "seed": str(batch.seed), "intent": batch.intent, "study": batch.study, **behind(anatomy),
        }  # fmt: skip
        write_json(folder / "row.json", row | dict(anatomy.attributes))
        shape = shape_of(anatomy.label, anatomy.map > 0, generator.anatomies.people.regions, anatomy.spacing_mm)
        write_json(folder / "shape.json", asdict(shape))

    return make


def behind(anatomy: Anatomy) -> dict[str, str]:
    """The columns that say whose an anatomy is: patients are its `donors`, people of a public source are not."""
    patients = [name for name in anatomy.donors if not name.startswith(PUBLIC)]
    public = [name.removeprefix(PUBLIC) for name in anatomy.donors if name.startswith(PUBLIC)]
    return {"donors": ";".join(patients)} | ({"public": ";".join(public)} if public else {})


def volume_of(anatomy: Anatomy, image: np.ndarray, channels: tuple[str, ...]) -> Volume:
    """A prepared-convention image [channel, x, y, z] as a volume of whole numbers, from `DARKEST` by `SCALE`."""
    whole = np.where(anatomy.map > 0, np.rint(image * SCALE) + DARKEST, 0).astype(np.float32)
    spacing = anatomy.spacing_mm
    return Volume(
        images=dict(zip(channels, whole, strict=True)),
        label=anatomy.label,
        affine=np.diag([*(spacing or (1.0, 1.0, 1.0)), 1.0]),
        spacing_known=spacing is not None,
    )
