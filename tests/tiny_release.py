"""A release with a tiny random network, and a head to ask it about, for the tests of registry and serving."""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from synthgate import cards
from synthgate.cohort.case import Volume
from synthgate.files import write_json
from synthgate.learning import segmenter
from synthgate.params import StudyRow, parse, read
from synthgate.registry import bundle, manifest

CHANNELS = ("t1", "flair")
REGIONS = {"WT": (1, 2), "TC": (1,)}
SHAPE = (24, 28, 10)
SPACING_MM = (2.0, 1.5, 5.0)


def row() -> StudyRow:
    """The shipped row of `brain`, made small."""
    value = read(Path(__file__).parents[1] / "params.yaml")
    brain = value["studies"]["brain"]
    brain["cohort"] |= {"channels": list(CHANNELS), "regions": {name: list(v) for name, v in REGIONS.items()}}
    brain["prepare"]["size"] = [32, 32]
    brain["study"]["segmenter"] |= {"features": [4, 8, 8], "patch": [32, 32], "spatial_dims": 2}
    return parse(value).studies["brain"]


def network(seed: int = 0) -> torch.nn.Module:
    """A network whose random answers are neither empty nor full: without the prior that lesions are rare."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = segmenter.build(row().study.segmenter, len(CHANNELS), len(REGIONS))
    torch.nn.init.zeros_(made.output_block.conv.conv.bias)
    return made


def write(folder: Path, seed: int = 0) -> Path:
    """Write a whole release folder, with a source artefact beside it; returns the folder."""
    source = folder.parent / f"source-of-{folder.name}"
    source.mkdir(parents=True)
    write_json(source / "cases.json", ["one", "two"])
    made = cards.Card("prepare", "brain", "brain", ("p1", "p2"), {}, inputs={"data/brain": "0" * 64}, terms=("CC0",))
    cards.write(source, made)
    weights = bundle.weights_of(network(seed))
    told = manifest.build(
        study="brain",
        row=row(),
        arm="real",
        weights=weights,
        artefacts=[source],
        batches={},
        patients={"train": ["p1", "p2"], "hold-out": ["p3"]},
        validation={"WT": {"dice": 0.8}},
        hold_out={"WT": {"dice": None}},
        decision="real-only: nothing beat it",
    )
    card = cards.Card("release", "brain", "brain", ("p1", "p2"), {}, terms=("CC0",))
    bundle.write(folder, bundle.Settings.of("brain", row()), weights, told, card)
    return folder


def affine() -> np.ndarray:
    """Anisotropic, tilted by 0.2 rad about z, away from the origin."""
    turn = np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = turn @ np.diag(SPACING_MM)
    out[:3, 3] = (-20.0, 11.0, 5.0)
    return out


def volume(seed: int = 0) -> Volume:
    """An ellipsoid of noise in each channel."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in SHAPE), indexing="ij")
    head = x**2 + y**2 + z**2 < 1.3
    images = {name: (head * rng.integers(200, 1200, SHAPE)).astype(np.float32) for name in CHANNELS}
    return Volume(images, None, affine())


def images(of: Volume | None = None) -> dict[str, nib.Nifti1Image]:
    """The volume's channels as NIfTI images in mm."""
    of = of or volume()
    out = {name: nib.Nifti1Image(values.astype(np.int16), of.affine) for name, values in of.images.items()}
    for image in out.values():
        image.header.set_xyzt_units("mm")
    return out


def files(of: dict[str, nib.Nifti1Image] | None = None) -> dict[str, bytes]:
    """The bytes of one uncompressed NIfTI file per channel."""
    return {name: image.to_bytes() for name, image in (of or images()).items()}
