"""Tiny patients (8 x 8 x 6 voxels) in every layout that a reader reads, written by the tests themselves."""

from pathlib import Path

import nibabel
import numpy as np
import tifffile

from synthgate.cohort import folder
from synthgate.cohort.case import Volume

SHAPE = (8, 8, 6)
CHANNELS = ("t1", "t1ce", "t2", "flair")
AFFINE = np.array([[-2.0, 0, 0, 7], [0, -2, 0, 9], [0, 0, 3, -5], [0, 0, 0, 1]])
YEARS = {
    2018: "HGG/Brats18_CBICA_A{:02d}_1",
    2019: "LGG/BraTS19_TCIA01_{:03d}_1",
    2020: "BraTS20_Training_{:03d}",
    2021: "BraTS2021_{:05d}",
    2023: "BraTS-GLI-{:05d}-000",
}
NEW = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}


def volume(seed: int, channels=CHANNELS, labels=(1, 2, 4), affine=AFFINE) -> Volume:
    """A bright block with noise for a head, a lesion of all labels inside."""
    rng = np.random.default_rng(seed)
    images = {}
    for channel in channels:
        image = np.zeros(SHAPE, np.float32)
        image[1:7, 1:7] = rng.integers(200, 900, (6, 6, 6))
        images[channel] = image
    label = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate(labels):
        label[2 + place, 2:5, 2 + seed % 2] = value
    if labels:
        label[5, 2:6, 1:5] = labels[0] * rng.integers(0, 2, (4, 4))  # no two patients have the same lesion
    return Volume(images, label, affine.copy())


def cohort(root: Path, count: int = 9, first: int = 0, **given) -> Path:
    rows = []
    for seed in range(first, first + count):
        folder.write_case(root, f"case-{seed:02d}", volume(seed, **given))
        rows.append({"case_id": f"case-{seed:02d}", "patient_id": f"P{seed:02d}", "site": "AB"[seed % 2], "age": "50"})
    folder.write_table(root, rows)
    return root


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE, **header) -> None:
    image = nibabel.Nifti1Image(values, affine)
    for key, value in header.items():
        image.header[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def brats(root: Path, year: int, count: int = 9, suffix: str = ".nii.gz") -> Path:
    """The patients of `cohort` as the challenge of that year named them; 2023 has 3 for 4."""
    for seed in range(count):
        name = YEARS[year].format(seed)
        stem, given = root / name / Path(name).name, volume(seed)
        for channel, image in given.images.items():
            role = f"-{NEW[channel]}" if year == 2023 else f"_{channel}"
            save(stem.parent / f"{stem.name}{role}{suffix}", image.astype(np.int16))
        label = np.where(given.label == 4, 3, given.label) if year == 2023 else given.label
        save(stem.parent / f"{stem.name}{'-' if year == 2023 else '_'}seg{suffix}", label.astype(np.uint8))
    return root


def lgg(root: Path, count: int = 9, slices: int = 12, side: int = 16) -> Path:
    """Patients TCGA_XY_A000 … of 12 slices, so that slice numbers do not sort as text."""
    for seed in range(count):
        lgg_patient(root / f"TCGA_{'XY' if seed % 2 else 'QQ'}_A{seed:03d}_19990101", seed, slices, side)
    head = "Patient,neoplasm_histologic_grade,gender,age_at_initial_pathologic,race\n"
    lines = [f"TCGA_{'XY' if s % 2 else 'QQ'}_A{s:03d},{1 + s % 2},{1 + s % 2},{40 + s},3\n" for s in range(count + 2)]
    (root / "data.csv").write_text(head + "".join(lines))
    return root


def lgg_patient(path: Path, seed: int, slices: int = 12, side: int = 16) -> None:
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for number in range(1, slices + 1):
        pixels = np.zeros((side, side, 3), np.uint8)
        pixels[2:-2, 3:-3] = rng.integers(60, 255, (side - 4, side - 6, 3))
        pixels[0, 0] = number  # a mark by which the tests tell slices apart
        mask = np.zeros((side, side), np.uint8)
        mask[4:8, 5:7] = 255 * (number == 7)
        mask[8:10, 5:10] = 255 * rng.integers(0, 2, (2, 5)) * (number == 6)  # no two lesions alike
        tifffile.imwrite(path / f"{path.name}_{number}.tif", pixels, photometric="rgb", metadata=None)
        tifffile.imwrite(path / f"{path.name}_{number}_mask.tif", mask, metadata=None)


def rewrite(path: Path, change) -> None:
    """Replace the values of one NIfTI file by `change(values)`."""
    image = nibabel.load(path)
    values = np.asanyarray(image.dataobj).copy()
    changed = change(values)
    save(path, changed.astype(values.dtype) if changed.dtype == np.int64 else changed, image.affine)
