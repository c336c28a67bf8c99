"""Synthetic cases next to real ones, as pictures: a row for each case, a column for each channel and one for the label.

For each batch OUT/samples-BATCH.png: the first ROWS validation patients, a line, and the batch's first ROWS cases, all
prepared as the gate does; of each the slice with the largest lesion. `dvc repro` must have run.

Usage: python -m bench.samples [--batches diffusion,gan] [--out reports/bench]
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from bench import trials
from synthgate import params, places
from synthgate.cohort.folder import load_case, read_table
from synthgate.cohort.prepare import prepare_volume
from synthgate.cohort.store import Store
from synthgate.errors import ParamsError, SynthgateError
from synthgate.files import replacing
from synthgate.params import Batch

ROWS = 3
BRIGHTEST = 1.2
"""Prepared intensity that is white."""
ENLARGED = 2


@dataclass(frozen=True)
class Settings:
    """What is asked for; batches with commas between them."""

    batches: str = "diffusion,gan"
    out: Path = Path("reports/bench")


def main(settings: Settings) -> int:
    known = params.load().batches
    for name in settings.batches.split(","):
        if name not in known:
            raise ParamsError(f"--batches: expected some of {', '.join(known)}, got {name!r}")
        path = settings.out / f"samples-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            beside.write_bytes(imagecodecs.png_encode(picture(name, known[name])))
        print(f"written: {path}")
    return 0


def picture(name: str, batch: Batch) -> np.ndarray:
    """[row, column] uint8."""
    study = params.load().studies[batch.study]
    store = Store.open(places.build(batch.study))
    if not study.cohort.simulated:
        raise ParamsError(f"study {batch.study} is of real patients, whose images do not go into reports")
    most = max(study.cohort.labels)
    real = [strip(store.image(case), store.label(case), most) for case in store.select("validation")[:ROWS]]
    folder, made = places.batch(batch.study, name), []
    for row in read_table(folder)[:ROWS]:
        prepared = prepare_volume(
            load_case(folder / row["case_id"], study.cohort.channels), store.channels, study.prepare
        )
        assert prepared.label is not None
        made.append(strip(prepared.image.astype(np.float32), prepared.label, most))
    line = np.ones((2, real[0].shape[1]))
    whole = np.concatenate([*real, line, *made])
    return np.kron((255 * whole).round().astype(np.uint8), np.ones((ENLARGED, ENLARGED), np.uint8))


def strip(image: np.ndarray, label: np.ndarray, most: int) -> np.ndarray:
    """Channels and label side by side in 0..1, front upwards, of an image [channel, x, y, z] with its label."""
    sizes: Sequence[int] = (label > 0).sum((0, 1))
    plane = int(np.argmax(sizes)) if max(sizes) else image.shape[3] // 2
    parts = [*np.clip(image[..., plane] / BRIGHTEST, 0, 1), label[..., plane] / most]
    return np.concatenate([part.T[::-1] for part in parts], axis=1)


if __name__ == "__main__":
    try:
        sys.exit(main(trials.asked(Settings, __doc__ or "")))
    except SynthgateError as error:
        print(f"bench/samples.py: {error}", file=sys.stderr)
        sys.exit(2)
