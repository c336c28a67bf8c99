"""Our metrics beside those of the packages people use for them: seconds, peak memory and values on the same inputs.

Each side runs in a process of its own; its peak memory is that above its imports and inputs. Prints a table, writes
reports/bench/metrics.json, and exits with 1 where a value differs by more than TOLERANCE.
Usage: python bench/metrics.py [--small]
"""

import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthgate.files import write_json

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "reports" / "bench" / "metrics.json"
TOLERANCE = 1e-4
NEIGHBOURS = 5
FULL = {"cases": 5000, "features": 512, "grid": (80, 96, 40), "repeats": 3}
SMALL = {"cases": 600, "features": 64, "grid": (20, 24, 6), "repeats": 1}
PEERS = {
    "neighbourhood": "prdc",
    "frechet": "torchmetrics",
    "kernel_distance": "torchmetrics",
    "radiomics": "mirp",
}
CHANNELS = ("t1", "t1ce", "t2", "flair")
MIRP_NAMES = {
    "mean": "stat_mean", "variance": "stat_var", "skewness": "stat_skew", "kurtosis": "stat_kurt",
    "median": "stat_median", "percentile_10": "stat_p10", "percentile_90": "stat_p90",
    "interquartile_range": "stat_iqr", "root_mean_square": "stat_rms",
    "intensity_entropy": "ih_entropy_fbn_n32", "intensity_uniformity": "ih_uniformity_fbn_n32",
    "joint_entropy": "cm_joint_entr", "angular_second_moment": "cm_energy", "contrast": "cm_contrast",
    "dissimilarity": "cm_dissimilarity", "inverse_difference_normalised": "cm_inv_diff_norm",
    "inverse_difference_moment": "cm_inv_diff_mom", "correlation": "cm_corr", "cluster_shade": "cm_clust_shade",
    "cluster_prominence": "cm_clust_prom",
}  # fmt: skip
Side = Callable[[], dict[str, float]]


def main(*arguments: str) -> int:
    small = "--small" in arguments
    floor = measure("floor", "ours", small)["seconds"]
    print(f"floor: {floor:.2f} s for the three float32 products of the distances alone")
    print(f"{'metric':16} {'ours_s':>8} {'theirs_s':>8} {'times':>6} {'apart':>8} {'ours_MiB':>8} {'theirs_MiB':>10}")
    rows = {}
    for metric, peer in PEERS.items():
        ours, theirs = measure(metric, "ours", small), measure(metric, "theirs", small)
        apart = {name: difference(ours["values"][name], value) for name, value in theirs["values"].items()}
        worst = max(apart, key=apart.__getitem__)
        rows[metric] = {
            "peer": peer, "ours": ours, "theirs": theirs, "times_faster": theirs["seconds"] / ours["seconds"],
            "largest_relative_difference": apart[worst], "of": worst, "passed": apart[worst] <= TOLERANCE,
        }  # fmt: skip
        print(
            f"{metric:16} {ours['seconds']:8.3f} {theirs['seconds']:8.3f} {rows[metric]['times_faster']:6.1f} "
            f"{apart[worst]:8.1e} {ours['peak_mib']:8.0f} {theirs['peak_mib']:10.0f}  {peer}"
            f"{'' if rows[metric]['passed'] else f'  DIFFERS in {worst}'}"
        )
    write_json(OUT, {"sizes": SMALL if small else FULL, "floor_s": floor, "metrics": rows})
    print(f"written: {OUT.relative_to(ROOT)}")
    return 0 if all(row["passed"] for row in rows.values()) else 1


def measure(metric: str, side: str, small: bool) -> dict[str, Any]:
    """Run one side of one metric in a process of its own: median seconds, peak MiB above its inputs, values."""
    command = [sys.executable, __file__, "--side", metric, side, *(["--small"] if small else [])]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def difference(ours: float | None, theirs: float) -> float:
    """Relative; infinite where only one side has a value."""
    if ours is None or theirs != theirs:
        return 0.0 if ours is None and theirs != theirs else float("inf")
    return abs(ours - theirs) / max(abs(theirs), 1e-12)


def one_side(metric: str, side: str, small: bool) -> None:
    """Print the measurement as JSON; whatever the packages print goes nowhere."""
    sizes = SMALL if small else FULL
    with contextlib.redirect_stdout(io.StringIO()):
        call: Side = globals()[f"{side}_{metric}"](sizes)
        before, seconds = from_here_mib(), []
        for _ in range(sizes["repeats"]):
            start = time.perf_counter()
            values = call()
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "peak_mib": peak_mib() - before, "values": values}))


def from_here_mib() -> float:
    """What the process holds now; where the system can (Linux), its peak counts from here, not from its imports."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_mib()


def peak_mib() -> float:
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def features(sizes: dict[str, Any]) -> tuple[Any, Any]:
    """Two float32 samples of correlated features, as an encoder gives them; the second shifted and narrower."""
    import numpy as np

    n, d = sizes["cases"], sizes["features"]
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(d, d)) * np.exp(-np.arange(d) / (d / 8))[:, None] / np.sqrt(d / 16)
    real, fake = rng.normal(size=(n, d)) @ mix, rng.normal(0.1, 0.95, size=(n, d)) @ mix
    return real.astype(np.float32), fake.astype(np.float32)


def head(sizes: dict[str, Any]) -> tuple[Any, Any]:
    """A head of smooth noise in four channels, float32 [channel, x, y, z], and a lesion's label."""
    import numpy as np
    from scipy import ndimage

    grid, rng = sizes["grid"], np.random.default_rng(0)
    away = sum(((at - side / 2) / (0.45 * side)) ** 2 for at, side in zip(np.indices(grid), grid, strict=True))
    smooth = np.stack([ndimage.gaussian_filter(rng.normal(size=grid), 1.0) for _ in CHANNELS])
    image = np.clip(0.5 + 0.5 * smooth, 0.01, 1) * (away < 1)
    return image.astype(np.float32), (away < 0.08).astype(np.uint8)


def ours_floor(sizes: dict[str, Any]) -> Side:
    real, fake = features(sizes)

    def call() -> dict[str, float]:
        for one, two in ((real, real), (fake, fake), (real, fake)):
            for start in range(0, len(one), 1024):
                one[start : start + 1024] @ two.T
        return {}

    return call


def ours_neighbourhood(sizes: dict[str, Any]) -> Side:
    from synthgate.stats.neighbours import neighbourhood

    real, fake = features(sizes)
    return lambda: vars(neighbourhood(real, fake, NEIGHBOURS))


def theirs_neighbourhood(sizes: dict[str, Any]) -> Side:
    from prdc import compute_prdc

    real, fake = features(sizes)
    return lambda: {name: float(value) for name, value in compute_prdc(real, fake, nearest_k=NEIGHBOURS).items()}


def ours_frechet(sizes: dict[str, Any]) -> Side:
    from synthgate.stats.distances import frechet

    real, fake = features(sizes)
    return lambda: {"frechet": frechet(real, fake)}


def theirs_frechet(sizes: dict[str, Any]) -> Side:
    import torch
    from torchmetrics.image.fid import _compute_fid

    # its metric keeps its sums in float64 too
    real, fake = (torch.from_numpy(part).double() for part in features(sizes))
    return lambda: {"frechet": float(_compute_fid(real.mean(0), real.T.cov(), fake.mean(0), fake.T.cov()))}


def ours_kernel_distance(sizes: dict[str, Any]) -> Side:
    from synthgate.stats.distances import kernel_distance

    real, fake = features(sizes)
    return lambda: {"kernel_distance": kernel_distance(real, fake)}


def theirs_kernel_distance(sizes: dict[str, Any]) -> Side:
    import torch
    from torchmetrics.image.kid import poly_mmd

    real, fake = (torch.from_numpy(part) for part in features(sizes))
    return lambda: {"kernel_distance": float(poly_mmd(real, fake))}


def ours_radiomics(sizes: dict[str, Any]) -> Side:
    from synthgate.features.radiomics import describe

    image, label = head(sizes)
    return lambda: describe(image, label, CHANNELS)


def theirs_radiomics(sizes: dict[str, Any]) -> Side:
    import mirp  # noqa: F401  its import is not what is measured

    from synthgate.features.head import head_of

    image, label = head(sizes)
    regions = {"head": head_of(image), "lesion": label > 0}

    def call() -> dict[str, float]:
        return {
            f"{channel}_{region}_{name}": value
            for channel, volume in zip(CHANNELS, image, strict=True)
            for region, mask in regions.items()
            for name, value in mirp_radiomics(volume, mask).items()
        }

    return call


def mirp_radiomics(image: Any, mask: Any) -> dict[str, float]:
    """Our names, mirp's numbers, of one image [x, y, z] over a mask; in-plane directions, merged over slices."""
    import mirp
    import numpy as np

    table = mirp.extract_features(
        image=np.ascontiguousarray(image.T, np.float64), mask=np.ascontiguousarray(mask.T, np.uint8),
        image_modality="mr", base_feature_families=["statistics", "intensity_histogram", "glcm"],
        base_discretisation_method="fixed_bin_number", base_discretisation_n_bins=32,
        glcm_distance=1.0, glcm_spatial_method="2.5d_volume_merge",
    )[0]  # fmt: skip
    row = table.iloc[0]
    texture = "_d1_2.5d_v_mrg_fbn_n32"
    return {
        name: float(row[theirs + texture if theirs.startswith("cm_") else theirs])
        for name, theirs in MIRP_NAMES.items()
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        one_side(sys.argv[2], sys.argv[3], "--small" in sys.argv)
    else:
        sys.exit(main(*sys.argv[1:]))
