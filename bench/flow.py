"""Rectified flow in 10 and 20 steps against DDPM in 250: seconds a slice, fidelity and diversity, side by side.

The same network learns the prepared study twice, with equal seed, batches and steps. Both then paint the same slices of
training patients whom neither learned from, from the same noises, in turn and in one process. Prints the tables, writes
reports/bench/flow.json and flow.md, and exits with 1 where rectified flow at PRIMARY steps is not shown to be as fast
and as good as is claimed. `--seed` draws the patients set apart, the weights, the batches and the noises; seed 0 is the
one that the flow's training times were chosen on. Usage: python bench/flow.py [--steps 400] [--slices 2] [--seed 1]
(22 minutes on one core)
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synthgate import params
from synthgate.cohort.store import Store
from synthgate.errors import ArtefactError
from synthgate.features.convolution import Convolution
from synthgate.files import write_json, write_text
from synthgate.generators import training
from synthgate.generators.generator import load
from synthgate.generators.learned import criterion, diffusion
from synthgate.generators.learned.conditions import image_of
from synthgate.generators.learned.painter import Painter, build, paint
from synthgate.generators.learned.paintings import set_apart
from synthgate.generators.learned.slices import Batches, Slices
from synthgate.generators.learned.teaching import Teaching
from synthgate.learning import loop
from synthgate.params import Diffusion, Fitting, Patients
from synthgate.scratch import Scratch

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "reports" / "bench"
STUDY = "brain"
ARMS = {"rectified-10": ("rectified", 10), "rectified-20": ("rectified", 20), "ddpm-250": ("ddpm", 250)}
PEER = "ddpm-250"
PRIMARY = "rectified-20"
"""The arm that the claim is about, fixed beforehand; the other informs."""
FASTER = 10.0
"""Times."""
FIDELITY_MARGIN = 0.1
"""Of the kernel distance between mean images alone and real slices: a painter is there to take that away, and leaving
a tenth of it more than another one does is as little as shows beside what both leave."""
DIVERSITY_MARGIN = 0.1
"""Share of DDPM's diversity that may be lost: a batch must then be a ninth larger to hold as much variety."""
CONFIDENCE = 0.95
"""Of each one-sided bound."""
RESAMPLES = 4000
NOISES = 4
"""Samples of each slice; with a single pair of them the bound of diversity was mostly the noise of that pair."""
AT_ONCE = 12
BATCH = 16
FEATURES = 96
"""Of the random convolutional space."""
Space = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Asked:
    """The slices that are painted, each NOISES times; arrays [slice, …]."""

    real: np.ndarray
    """Images [slice, channel, x, y]."""
    condition: np.ndarray
    group: np.ndarray
    patient: np.ndarray
    """Number of the patient."""

    def images(self, residual: np.ndarray) -> np.ndarray:
        """Residuals on the mean images of the slices."""
        return np.clip(image_of(residual, self.condition), 0, None)


def row_of(flow: str, steps: int, fitted: int, seed: int) -> Diffusion:
    """The generator's row: all but `flow` and its steps is the same."""
    fitting = Fitting(
        steps=fitted, batch=BATCH, learning_rate=1e-3, ema=0.99, checkpoint_every=fitted, judged=5, memorised=0.01,
        inner=0.3,
    )  # fmt: skip
    return Diffusion(
        kind="diffusion", study=STUDY, patients=Patients("all", 0), clusters=4, smoothing=1.0, recombine=True,
        seed=seed, attributes=("site",), features=(32, 64, 96), patch=2, flow=flow, steps=steps, fitting=fitting,
    )  # fmt: skip


def prepared(store: Store, seed: int, scratch: Scratch) -> tuple[Slices, Slices]:
    """What both flows share: a painter's styles and conditions; slices of learned and of unseen patients."""
    cases = store.select("train")
    study = params.load(ROOT / "params.yaml").studies[STUDY]
    row = row_of("rectified", 1, 1, seed)

    def make(out: Path) -> None:
        training.train(
            "flow-bench", row, study.prepare, store, cases, [case.patient for case in cases], out, scratch,
            reports=scratch.path / "reports", regions=dict(study.cohort.regions), inputs={},
        )  # fmt: skip

    generator = load(scratch.once("prepared", make))
    painter, heads = generator.painter, generator.anatomies.heads
    assert isinstance(painter, Painter)
    inner = set_apart(row, cases)

    def slices(within: bool) -> Slices:
        chosen = [number for number, case in enumerate(cases) if (case.patient in inner) == within]
        labels = {number: store.label(cases[number]) for number in chosen}
        maps = [np.where(labels[n] > 0, labels[n], heads[n].map) for n in chosen]
        tables = [painter.styles.table(painter.styles.known[n]) for n in chosen]
        return Slices(store, [cases[n] for n in chosen], maps, tables, painter.conditions, row.seed)

    return slices(False), slices(True)


def learned(flow: str, steps: int, slices: Slices, scratch: Scratch) -> tuple[nn.Module, float]:
    """The averaged network after so many steps of a flow, and its last mean loss; a killed training continues."""
    row = row_of(flow, 1, steps, slices.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(row.seed)
        network = build(row, len(slices.store.channels), slices.conditions)
        module = Teaching(network, None, row)
    batches = Batches(slices, BATCH)
    curve = loop.fit(module, batches, steps, 100, scratch.path / f"{flow}.ckpt", flow, BATCH)
    average: nn.Module = module.average.module.eval()
    return average.to("cuda" if torch.cuda.is_available() else "cpu"), curve[-1][1]


def asked(slices: Slices, count: int) -> Asked:
    """`count` slices of each patient, evenly over those with much of the head in them."""
    index, rows = slices.index(), []
    for number, codes in enumerate(slices.maps):
        planes = index[index[:, 0] == number]
        area = np.array([(codes[:, :, plane] > 0).sum() for _, plane in planes])
        large = planes[area > np.median(area)]
        rows += list(large[((np.arange(count) + 0.5) * len(large) / count).astype(int)])
    residual, condition, group = slices.take(np.array(rows))
    real = np.clip(image_of(residual, condition), 0, None)
    return Asked(real, condition, group, np.repeat(np.arange(len(slices.maps)), count))


def painted(
    networks: dict[str, nn.Module], told: Asked, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """Arm → images [slice, noise, channel, x, y], and arm → seconds a slice of each turn; all arms in every turn."""
    images: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    channels = told.real.shape[1]
    turns = [(n, part) for part in np.array_split(np.arange(len(told.group)), -(-len(told.group) // AT_ONCE))
             for n in range(NOISES)]  # fmt: skip
    where = []
    for done, (number, part) in enumerate(turns):
        where += [(place, number) for place in part]
        # the arms take turns at being first, so that a machine that slows down is not held against one of them
        for arm in np.roll(list(ARMS), done):
            flow, steps = ARMS[arm]
            device = next(networks[flow].parameters()).device
            condition, group = (torch.from_numpy(x[part]).to(device) for x in (told.condition, told.group))
            draw = functools.partial(diffusion.plain, np.random.default_rng([seed, 1, done]), condition, channels)
            start = time.perf_counter()
            residual = paint(networks[flow], row_of(flow, steps, 1, seed), condition, group, draw).float().cpu().numpy()
            seconds[arm].append((time.perf_counter() - start) / len(part))
            images[arm].append(residual)
        print(f"painted: {done + 1}/{len(turns)} turns", file=sys.stderr, flush=True)
    order = np.lexsort(np.array(where).T[::-1])
    return {
        arm: np.concatenate(parts)[order].reshape(-1, NOISES, *told.real.shape[1:]) for arm, parts in images.items()
    }, seconds


def spaces(real: np.ndarray) -> dict[str, Space]:
    """Name → embedding of images, each feature in units of its spread over the real slices."""
    random = Convolution(real.shape[1], FEATURES, 0)
    plain: dict[str, Space] = {
        "wavelets": criterion.wavelets,
        "convolution": lambda images: np.stack([random.embed(image[..., None]) for image in images]),
    }

    def scaled(embed: Space) -> Space:
        known = embed(real)
        middle, unit = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-6)
        return lambda images: (embed(images) - middle) / unit

    return {name: scaled(embed) for name, embed in plain.items()}


def apart(ours: np.ndarray, real: np.ndarray, patient: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """[patient, patient]: whose mean off the diagonal is the kernel distance between two samples of other patients.

    The kernel is the gate's, (x·y/d + 1)³. `owner` is the patient of each row of `ours`, `patient` that of `real`.
    """
    size = patient.max() + 1

    def between(a: np.ndarray, whose: np.ndarray, b: np.ndarray, others: np.ndarray) -> np.ndarray:
        kernel = (a @ b.T / a.shape[1] + 1) ** 3
        left, right = (np.eye(size)[one] / np.bincount(one)[one][:, None] for one in (whose, others))
        return left.T @ kernel @ right

    cross = between(ours, owner, real, patient)
    return between(ours, owner, ours, owner) + between(real, patient, real, patient) - cross - cross.T


def over(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[resample]: the mean of [patient, patient] off the diagonal, where patient p counts `weights[:, p]` times."""
    values = values - np.diag(np.diag(values))
    pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    return np.einsum("rp,pq,rq->r", weights, values, weights) / pairs


def variety(embedded: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """[patient]: mean distance of the samples [slice, noise, feature] of one slice, over the patient's slices."""
    first, second = np.triu_indices(embedded.shape[1], 1)
    distance = np.linalg.norm(embedded[:, first] - embedded[:, second], axis=2).mean(axis=1)
    return np.bincount(patient, distance) / np.bincount(patient)


def compared(images: dict[str, np.ndarray], told: Asked) -> tuple[dict[str, Any], dict[str, float]]:
    """Space → arm → findings with bounds over resampled patients, and space → the fidelity margin."""
    size, found, margins = told.patient.max() + 1, {}, {}
    rng = np.random.default_rng(0)
    weights = np.concatenate([np.ones((1, size)), rng.multinomial(size, np.full(size, 1 / size), RESAMPLES)])
    for name, embed in spaces(told.real).items():
        real = embed(told.real)
        alone = over(apart(embed(told.images(np.zeros_like(told.real))), real, told.patient, told.patient), weights)[0]
        margins[name] = FIDELITY_MARGIN * float(alone)
        distance, diverse = {}, {}
        for arm, parts in images.items():
            made = np.stack([embed(told.images(parts[:, n])) for n in range(NOISES)], axis=1)
            flat = made.reshape(-1, made.shape[2])
            distance[arm] = over(apart(flat, real, told.patient, np.repeat(told.patient, NOISES)), weights)
            diverse[arm] = weights @ variety(made, told.patient)
        found[name] = {
            arm: {
                "kernel_distance": float(distance[arm][0]),
                "more_than_peer": _bound(distance[arm] - distance[PEER], CONFIDENCE),
                "diversity_of_peer": _bound(diverse[arm] / diverse[PEER], 1 - CONFIDENCE),
            }
            for arm in images
        }
    return found, margins


def _bound(values: np.ndarray, quantile: float) -> dict[str, float]:
    """The estimate, and the one-sided bound that resampling gives."""
    return {"estimate": float(values[0]), "bound": float(np.quantile(values[1:], quantile))}


def judged(
    found: dict[str, Any], margins: dict[str, float], seconds: dict[str, list[float]], arm: str
) -> dict[str, Any]:
    """What is shown of an arm against the peer."""
    faster = statistics.median(theirs / ours for ours, theirs in zip(seconds[arm], seconds[PEER], strict=True))
    return {
        "times_faster": faster,
        "fast": faster >= FASTER,
        "faithful": all(found[name][arm]["more_than_peer"]["bound"] < margins[name] for name in found),
        "diverse": all(found[name][arm]["diversity_of_peer"]["bound"] > 1 - DIVERSITY_MARGIN for name in found),
    }


def markdown(out: dict[str, Any]) -> str:
    """The tables for people."""
    head = ("arm", "space", "seconds a slice", "kernel distance", f"more than {PEER} (bound)", "margin",
            "diversity of it (bound)")  # fmt: skip
    rows = [
        (arm, name, f"{statistics.median(out['seconds'][arm]):.3f}", f"{one['kernel_distance']:.4f}",
         f"{one['more_than_peer']['estimate']:+.4f} ({one['more_than_peer']['bound']:+.4f})",
         f"{out['margins'][name]:.4f}",
         f"{one['diversity_of_peer']['estimate']:.3f} ({one['diversity_of_peer']['bound']:.3f})")
        for name, arms in out["found"].items() for arm, one in arms.items()
    ]  # fmt: skip
    told = [
        f"- {arm}: {one['times_faster']:.1f} times as fast; "
        + ", ".join(f"{key}: {'shown' if one[key] else 'not shown'}" for key in ("fast", "faithful", "diverse"))
        for arm, one in out["shown"].items()
    ]
    return "\n".join(
        [
            "# Rectified flow against DDPM\n",
            f"Seed {out['seed']}; {out['steps']} training steps of {BATCH} slices each (loss at the end: "
            f"{', '.join(f'{flow} {loss:.3g}' for flow, loss in out['losses'].items())}); {out['slices']} slices of "
            f"{out['patients']} unseen patients, {NOISES} samples of each. Bounds are one-sided, {CONFIDENCE:.0%}, "
            f"over {RESAMPLES} resamples of patients. The claim is about {PRIMARY}.\n",
            table(head, rows),
            *told,
            "",
        ]
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows)) + "\n"


def main(*arguments: str) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="training steps of each flow")
    parser.add_argument("--slices", type=int, default=2, help="slices of each unseen patient")
    parser.add_argument("--seed", type=int, default=1, help="of patients set apart, weights, batches and noises")
    asked_for = parser.parse_args(arguments)
    try:
        store = Store.open(ROOT / "build" / STUDY)
    except ArtefactError as error:
        print(f"bench/flow.py: {error}", file=sys.stderr)
        return 2
    steps, seed = asked_for.steps, asked_for.seed
    with Scratch.opened("bench-flow", {"steps": steps, "seed": seed}, root=ROOT / ".scratch") as scratch:
        ours, unseen = prepared(store, seed, scratch)
        fitted = {flow: learned(flow, steps, ours, scratch) for flow in ("rectified", "ddpm")}
    told = asked(unseen, asked_for.slices)
    images, seconds = painted({flow: network for flow, (network, _) in fitted.items()}, told, seed)
    found, margins = compared(images, told)
    out = {
        "steps": steps, "seed": seed, "losses": {flow: loss for flow, (_, loss) in fitted.items()},
        "slices": len(told.group), "patients": int(told.patient.max()) + 1, "threads": torch.get_num_threads(),
        "seconds": seconds, "found": found, "margins": margins,
        "shown": {arm: judged(found, margins, seconds, arm) for arm in ARMS if arm != PEER},
    }  # fmt: skip
    write_json(OUT / "flow.json", out)
    write_text(OUT / "flow.md", markdown(out))
    print(markdown(out))
    print(f"written: {(OUT / 'flow.json').relative_to(ROOT)}")
    shown = out["shown"][PRIMARY]
    return 0 if shown["fast"] and shown["faithful"] and shown["diverse"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
