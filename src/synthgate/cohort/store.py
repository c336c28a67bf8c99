"""The prepared store: shards that memory-map, so that a training step reads only the slices it needs.

A shard is a folder of three files: `images.f16` ([slice, channel, x, y]), `labels.u8` ([slice, x, y]) and `truth.z`
(each case's native label, zlib-compressed). A case is a run of slices, so volumes, slices and 3D patches all come from
the same bytes. `store.json` lists channels, size and cases.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgate import workers
from synthgate.cohort.case import Volume
from synthgate.cohort.prepare import Geometry, prepare_volume
from synthgate.errors import ArtefactError, CohortError
from synthgate.files import read_json, write_json
from synthgate.params import Prepare
from synthgate.progress import tracked
from synthgate.scratch import Scratch


@dataclass(frozen=True)
class Entry:
    """A case to be stored: who it is, and how to read it."""

    case: str
    """Pseudonym of a real case; the plain id of a synthetic or public one."""
    patient: str
    """Pseudonym; empty for a synthetic case; begins with `identity.PUBLIC` for a public one."""
    split: str
    """train, validation, hold-out, synthetic or public."""
    donors: tuple[str, ...]
    """Pseudonyms of the patients behind a synthetic case's anatomy; empty where it does not say."""
    attributes: Mapping[str, str]
    where: str
    load: Callable[[], Volume]


@dataclass(frozen=True)
class StoredCase:
    """A case in the store."""

    case: str
    patient: str
    split: str
    donors: tuple[str, ...]
    attributes: Mapping[str, str]
    geometry: Geometry
    content: str
    """SHA-256 of the native pixels, all channels."""
    shard: str
    start: int
    stop: int
    truth: tuple[int, int]
    """Byte range in the shard's `truth.z`."""

    @property
    def people(self) -> tuple[str, ...]:
        """The patients behind the case: the patient, or a synthetic case's donors."""
        return (self.patient,) if self.patient else self.donors


def write(folder: Path, entries: Sequence[Entry], channels: Sequence[str], params: Prepare, scratch: Scratch) -> None:
    """Prepare the entries into a store; one shard is in memory at a time, and a killed run keeps its finished shards.

    Raises CohortError naming the case that cannot be prepared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [entries[i : i + params.shard_cases] for i in range(0, len(entries), params.shard_cases)]
    steps = iter(tracked(range(len(entries)), len(entries), "prepare", "cases"))
    table: list[Any] = []
    for number, shard in enumerate(shards):
        name = f"shard-{number:03d}"
        done = scratch.once(name, functools.partial(_write_shard, name, shard, channels, params, steps))
        shutil.copytree(done, folder / name, copy_function=os.link, ignore=shutil.ignore_patterns("cases.json"))
        table += read_json(done / "cases.json")
    write_json(folder / "store.json", {"channels": list(channels), "size": list(params.size), "cases": table})


def _write_shard(
    name: str, entries: Sequence[Entry], channels: Sequence[str], params: Prepare, steps: Iterable[int], folder: Path
) -> None:
    folder.mkdir()
    table: list[dict[str, Any]] = []
    start = offset = 0
    with (
        (folder / "images.f16").open("wb") as images,
        (folder / "labels.u8").open("wb") as labels,
        (folder / "truth.z").open("wb") as truths,
        contextlib.closing(workers.each(lambda entry: _planes(entry, channels, params), entries)) as made,
    ):
        for (image, label, truth, geometry, content), entry, _ in zip(made, entries, steps, strict=False):
            images.write(image.tobytes())
            labels.write(label.tobytes())
            truths.write(truth)
            stop = start + len(label)
            case = StoredCase(
                case=entry.case, patient=entry.patient, split=entry.split, donors=entry.donors,
                attributes=dict(entry.attributes), geometry=geometry, content=content,
                shard=name, start=start, stop=stop, truth=(offset, offset + len(truth)),
            )  # fmt: skip
            table.append(asdict(case))
            start, offset = stop, offset + len(truth)
    write_json(folder / "cases.json", table)


def _planes(
    entry: Entry, channels: Sequence[str], params: Prepare
) -> tuple[np.ndarray, np.ndarray, bytes, Geometry, str]:
    """An entry's images and labels as a shard has them, its native label compressed, geometry and content's digest."""
    try:
        volume = entry.load()
        prepared = prepare_volume(volume, channels, params)
    except CohortError as error:
        raise CohortError(f"{entry.where}: {error}") from error
    if prepared.label is None or prepared.truth is None:
        raise CohortError(f"{entry.where}: no label; every case needs label.nii.gz")
    image, label = (np.ascontiguousarray(np.moveaxis(x, -1, 0)) for x in (prepared.image, prepared.label))
    truth = zlib.compress(np.ascontiguousarray(prepared.truth).tobytes(), 6)
    return image, label, truth, prepared.geometry, content_of(volume, channels)


def content_of(volume: Volume, channels: Sequence[str]) -> str:
    """SHA-256 of the channels' native values, so that the same image is found under another name."""
    total = hashlib.sha256()
    for name in channels:
        total.update(np.ascontiguousarray(volume.images[name], dtype=np.float32).tobytes())
    return total.hexdigest()


def _stored(value: dict[str, Any]) -> StoredCase:
    tuples = {name: tuple(value[name]) for name in ("donors", "truth")}
    return StoredCase(**(value | tuples | {"geometry": Geometry.from_json(value["geometry"])}))


class Store:
    """A prepared store, opened for reading; pixels stay on disk until asked for."""

    def __init__(self, folder: Path, channels: tuple[str, ...], size: tuple[int, int], cases: list[StoredCase]) -> None:
        self.folder = folder
        self.channels = channels
        self.size = size
        self.cases = cases

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open a store; raises ArtefactError where it is missing or incomplete."""
        value = read_json(folder / "store.json")
        cases = [_stored(case) for case in value["cases"]]
        for shard in {case.shard for case in cases}:
            if not (folder / shard / "truth.z").is_file():
                raise ArtefactError(f"{folder / shard} is missing; rebuild the store with `dvc repro`")
        return cls(folder, tuple(value["channels"]), tuple(value["size"]), cases)

    def select(self, *splits: str) -> list[StoredCase]:
        """The cases of the given splits, in the store's order."""
        return [case for case in self.cases if case.split in splits]

    @functools.cache  # noqa: B019  a store lives as long as its stage
    def _shard(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        images = np.memmap(self.folder / name / "images.f16", np.float16, "r").reshape(
            -1, len(self.channels), *self.size
        )
        labels = np.memmap(self.folder / name / "labels.u8", np.uint8, "r").reshape(-1, *self.size)
        return images, labels

    def planes(self, case: StoredCase) -> tuple[np.ndarray, np.ndarray]:
        """The case's slices as memory maps: [slice, channel, x, y] float16 and [slice, x, y] uint8."""
        images, labels = self._shard(case.shard)
        return images[case.start : case.stop], labels[case.start : case.stop]

    def image(self, case: StoredCase) -> np.ndarray:
        """[channel, x, y, z] float32."""
        return np.ascontiguousarray(self.planes(case)[0].transpose(1, 2, 3, 0), dtype=np.float32)

    def label(self, case: StoredCase) -> np.ndarray:
        """[x, y, z] uint8."""
        return np.ascontiguousarray(self.planes(case)[1].transpose(1, 2, 0))

    def truth(self, case: StoredCase) -> np.ndarray:
        """The label on the case's native grid, uint8."""
        with (self.folder / case.shard / "truth.z").open("rb") as stream:
            stream.seek(case.truth[0])
            raw = zlib.decompress(stream.read(case.truth[1] - case.truth[0]))
        return np.frombuffer(raw, np.uint8).reshape(case.geometry.native_shape)
