"""The bundle: a released model as a folder that answers by itself.

`model.safetensors` (weights), `bundle.json` (how a volume is prepared and the network built), `manifest.json` (what it
rests on) and `card.json`, whose digest over the other three is checked whenever the bundle is loaded.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from synthgate import cards
from synthgate.cohort.case import Volume
from synthgate.errors import ArtefactError
from synthgate.files import digest, read_json, replacing, write_json
from synthgate.params import Prepare, Segmenter, StudyRow
from synthgate.registry import manifest as manifests
from synthgate.registry.manifest import Manifest, manifest_id

WEIGHTS = "model.safetensors"
SETTINGS = "bundle.json"
NOTICE = "research use only"


@dataclass(frozen=True)
class Settings:
    """`bundle.json`: all that is needed beside the weights to answer."""

    study: str
    artifact: str
    """The model's name in the registry."""
    channels: tuple[str, ...]
    """In network order."""
    regions: tuple[tuple[str, tuple[int, ...]], ...]
    """(region, the label values it unites), in the order of the network's outputs."""
    prepare: Prepare
    network: Segmenter
    notice: str = NOTICE

    @classmethod
    def of(cls, study: str, row: StudyRow) -> "Settings":
        """The settings of a model trained for a study."""
        cohort = row.cohort
        return cls(
            study,
            row.release.artifact,
            cohort.channels,
            tuple(cohort.regions.items()),
            row.prepare,
            row.study.segmenter,
        )


@dataclass(frozen=True)
class Bundle:
    """A loaded release."""

    settings: Settings
    manifest: Manifest
    network: Any = field(repr=False)
    """torch module in evaluation mode; logits per region."""

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Load a release; raises ArtefactError where it is missing, half-written, changed or not one."""
        from synthgate.learning import segmenter, weights

        settings, manifest = verify(folder)
        network = segmenter.build(settings.network, len(settings.channels), len(settings.regions))
        return cls(settings, manifest, weights.load(network, folder))

    @property
    def manifest_id(self) -> str:
        """The manifest's name, on every answer."""
        return manifest_id(self.manifest)

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Region → label values, in order."""
        return dict(self.settings.regions)

    def segment(self, volume: Volume) -> np.ndarray:
        """[x, y, z] uint8 label on the volume's own grid, in its own axis order; raises CohortError (no head, …)."""
        from synthgate.cohort.prepare import prepare_volume, restore
        from synthgate.learning import regions, segmenter

        prepared = prepare_volume(volume, self.settings.channels, self.settings.prepare)
        probabilities = segmenter.predict(self.network, prepared.image.astype(np.float32), self.settings.network)
        return regions.to_label(restore(probabilities, prepared.geometry), self.regions)

    def region_voxels(self, label: np.ndarray) -> dict[str, int]:
        """Region → number of its voxels in [x, y, z] `label`."""
        return {region: int(np.isin(label, values).sum()) for region, values in self.settings.regions}

    def region_ml(self, label: np.ndarray, volume: Volume) -> dict[str, float | None]:
        """Region → millilitres; None where the volume's voxel size is unknown."""
        voxel_ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000 if volume.spacing_known else None
        return {
            region: None if voxel_ml is None else round(voxels * voxel_ml, 4)
            for region, voxels in self.region_voxels(label).items()
        }


def write(folder: Path, settings: Settings, weights: bytes, manifest: Manifest, card: cards.Card) -> None:
    """Write a bundle, whole or not at all; `weights` is the safetensors file that the manifest was built with."""
    with replacing(folder) as beside:
        beside.mkdir()
        (beside / WEIGHTS).write_bytes(weights)
        write_json(beside / SETTINGS, asdict(settings))
        manifests.write(beside, manifest)
        cards.write(beside, card)


def weights_of(network: Any) -> bytes:
    """A torch module's weights as the bytes of a safetensors file; the same weights give the same bytes."""
    import safetensors.torch

    from synthgate.learning.weights import tensors

    return safetensors.torch.save(tensors(network))


def verify(folder: Path) -> tuple[Settings, Manifest]:
    """Check a bundle's files against its card and each other, without loading the network; raises ArtefactError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtefactError(f"there is no release at {folder}; run `dvc repro` to make it or `dvc pull` to fetch it")
    card = cards.read(folder)
    if card.content != digest(folder, without=cards.NAME):
        raise ArtefactError(f"the files of {folder} are not those its card was written for; `dvc checkout {folder}`")
    try:
        # through JSON, so that a whole bundle is read exactly as strictly as a hand-made one
        settings = TypeAdapter(Settings).validate_json(json.dumps(read_json(folder / SETTINGS)))
    except ValidationError as error:
        raise ArtefactError(f"{folder / SETTINGS} is not a bundle's settings: {error}; rebuild it") from None
    manifest = manifests.read(folder)
    if manifest.weights != digest(folder / WEIGHTS):
        raise ArtefactError(
            f"{folder / WEIGHTS} is not the model of {folder / manifests.NAME}; `dvc checkout {folder}`"
        )
    return settings, manifest
