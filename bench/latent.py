"""What 3D latent diffusion costs on the device that is there: time and peak memory of its training steps and a sample.

Each part runs in a process of its own on random volumes. Memory is what torch had allocated at most on a GPU, and on a
CPU by how much the process grew. Prints a table and writes reports/bench/latent.json.

On a GPU, at the size that docs/generators.md tells:

    python bench/latent.py --size 128 128 128 --precision bf16-mixed

On two CPU cores something small, in a minute:

    python bench/latent.py --size 32 32 32 --steps 4
"""

import argparse
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthgate.files import write_json
from synthgate.generators.learned import coding, diffusion
from synthgate.generators.learned.conditions import Conditions
from synthgate.generators.learned.latent import Autoencoder, Space, pooled
from synthgate.generators.learned.painter import build
from synthgate.generators.learned.slices import CHANCES, Drawn
from synthgate.params import Diffusion, Fitting, Latent, Patients, as_plain

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "reports" / "bench" / "latent.json"
PARTS = ("autoencoder", "flow", "sample")
CLASSES = (1, 2, 4, 16, 17, 18, 19)
SITES = ("a", "b", "c")
WARM = 2
"""Steps before those that count."""


def main() -> int:
    wanted = arguments()
    print(f"{'part':12} {'batch':>5} {'seconds':>8} {'peak_GiB':>8} {'weights':>12}   on {device_name()}")
    rows = {}
    for part in PARTS:
        # a process each, by spawning, as CUDA wants it
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            row = rows[part] = pool.submit(measured, part, wanted).result()
        print(
            f"{part:12} {row['batch']:5} {row['seconds']:8.3f} {row['peak_gib']:8.2f} {row['weights']:12,}", flush=True
        )
    about = {"device": device_name(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    write_json(OUT, about | {"params": as_plain(row_of(wanted)), "channels": wanted.channels, "parts": rows})
    print(f"written: {OUT.relative_to(ROOT)}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[32, 32, 32], help="voxels x y z")
    parser.add_argument("--channels", type=int, default=4, help="channels of an image")
    parser.add_argument("--patch", type=int, default=1, help="side of the in-plane squares that are folded")
    parser.add_argument("--coder", type=int, nargs="+", default=[32, 64, 64], help="the autoencoder's features")
    parser.add_argument("--latent", type=int, default=4, help="channels of the latent")
    parser.add_argument("--features", type=int, nargs="+", default=[64, 128, 256], help="the flow's features")
    parser.add_argument("--batch", type=int, default=1, help="volumes of the autoencoder's step")
    parser.add_argument("--flow-batch", type=int, default=4, help="latents of the flow's step")
    parser.add_argument("--evaluations", type=int, default=20, help="of the flow in a sample, twice with guidance")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=10, help="steps that count")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true", help="of the steps")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def row_of(wanted: argparse.Namespace) -> Diffusion:
    """A row of `generators` as wanted."""
    fitting = Fitting(
        steps=wanted.steps, batch=wanted.flow_batch, learning_rate=1e-4, ema=0.99, checkpoint_every=wanted.steps,
        judged=5, memorised=0.5, inner=0.2, precision=wanted.precision, compile=wanted.compile,
    )  # fmt: skip
    latent = Latent(
        size=tuple(wanted.size), features=tuple(wanted.coder), channels=wanted.latent, steps=wanted.steps,
        batch=wanted.batch, learning_rate=1e-4, kl=1e-3, checkpoint_every=wanted.steps,
    )  # fmt: skip
    return Diffusion(
        study="brain", patients=Patients("all", 0), clusters=4, smoothing=1.0, recombine=True, seed=0,
        kind="diffusion", attributes=("site",), features=tuple(wanted.features), patch=wanted.patch, fitting=fitting,
        flow="rectified", steps=wanted.evaluations, guidance=wanted.guidance, latent=latent,
    )  # fmt: skip


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU"


def measured(part: str, wanted: argparse.Namespace) -> dict[str, Any]:
    """Median seconds and peak memory of a part, and how many weights it has."""
    row = row_of(wanted)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    conditions = Conditions.of(CLASSES, row.attributes, [{"site": site} for site in SITES])
    autoencoder = Autoencoder(wanted.channels, row.latent, row.patch)
    flow = build(row, wanted.channels, conditions)
    network = autoencoder if part == "autoencoder" else flow
    for one in (autoencoder, flow):
        one.to(device, memory_format=torch.channels_last_3d)
    if row.fitting.compile and part != "sample":
        network.compile()
    batch = {"autoencoder": wanted.batch, "flow": wanted.flow_batch, "sample": 1}[part]
    drawn = batch_of(part, batch, row, wanted.channels, conditions, device)
    before = peak_gib(device)
    run = sampling(flow, autoencoder, drawn, row) if part == "sample" else stepping(network, drawn, row)
    times = []
    for count in range(WARM + wanted.steps if part != "sample" else 3):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if count >= (WARM if part != "sample" else 1):
            times.append(time.perf_counter() - start)
    used = peak_gib(device) - (before if device.type == "cpu" else 0)
    weights = sum(parameter.numel() for parameter in network.parameters())
    return {"batch": batch, "seconds": statistics.median(times), "peak_gib": used, "weights": weights}


def batch_of(
    part: str, batch: int, row: Diffusion, channels: int, conditions: Conditions, device: torch.device
) -> Drawn:
    """Random items: volumes, or for the flow what they are on the latents' grid."""
    planes = torch.rand(batch, conditions.channels(channels), *row.latent.size)
    planes[:, -1] = 1
    told = pooled(planes, row.latent, row.patch)
    noise = torch.randn(batch, row.latent.channels, *told.shape[2:])
    residual = torch.randn_like(noise) if part == "flow" else torch.randn(batch, channels, *row.latent.size)
    groups = torch.arange(batch) % len(SITES) + 1
    parts = (residual, told if part == "flow" else planes, groups, noise, torch.rand(batch, CHANCES))
    return Drawn(*(tensor.to(device) for tensor in parts))


def stepping(network: torch.nn.Module, drawn: Drawn, row: Diffusion) -> Callable[[], None]:
    """A training step of the autoencoder, or of the flow."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    mixed = row.fitting.precision == "bf16-mixed"

    def run() -> None:
        optimiser.zero_grad()
        with torch.autocast(drawn.residual.device.type, torch.bfloat16, enabled=mixed):
            if isinstance(network, Autoencoder):
                loss = coding.loss(network, drawn, row.latent.kl)
            else:
                loss = diffusion.loss(network, drawn, row)
        loss.backward()
        optimiser.step()

    return run


def sampling(flow: torch.nn.Module, autoencoder: Autoencoder, drawn: Drawn, row: Diffusion) -> Callable[[], None]:
    """A sample as a painter makes it: all evaluations of the flow, then decoding, in float32."""
    ones = np.ones(row.latent.channels, np.float32)
    space = Space(autoencoder, row.latent, 0 * ones, ones)
    condition = drawn.condition[0].cpu().numpy()
    flow.eval()

    def run() -> None:
        space.sample(flow, condition, 1, row, np.random.default_rng(0))

    return run


def peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    raise SystemExit(main())
