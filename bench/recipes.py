"""Which recipe the GAN should have: SPADE or concatenation, feature matching, DiffAugment, rates; in one run.

Each recipe changes one thing in the GAN's row of `params.yaml`, and learns from the same patients, in the same batches,
by equal steps. Then its averaged weights paint slices of training patients whom none learned from, as at a checkpoint:
the smallest kernel distance is the best; the last row learned nothing. Prints the table, writes
reports/bench/recipes.json and recipes.md, and exits with 1 where another recipe than that of `params.yaml` is best.
Needs a finished `dvc repro`.
Usage: python -m bench.recipes [--generator gan] [--steps 300]
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import SPADEDiffusionModelUNet
from torch import Tensor, nn

from bench import trials
from synthgate import params, places
from synthgate.cohort.store import Store
from synthgate.errors import ParamsError, SynthgateError
from synthgate.files import write_json, write_text
from synthgate.generators.generator import load
from synthgate.generators.learned.criterion import Judged, judge
from synthgate.generators.learned.exams import Sliced
from synthgate.generators.learned.networks import GROUPS, fold, unfold
from synthgate.generators.learned.painter import Painter
from synthgate.generators.learned.paintings import set_apart
from synthgate.generators.learned.slices import Batches, Drawn, Slices
from synthgate.generators.learned.teaching import Teaching, module_of
from synthgate.learning import loop
from synthgate.params import Gan
from synthgate.scratch import Scratch

OUT = Path("reports") / "bench"
JUDGED = 48
"""Slices of each exam."""
NOWHERE = -1.0
"""Where DiffAugment cuts nothing."""


class Spade(nn.Module):
    """The same network by MONAI, told its condition by SPADE (Park et al. 2019, 1903.07291) at every level."""

    def __init__(self, channels: int, told: int, row: Gan, classes: int) -> None:
        super().__init__()
        self.patch = row.patch
        self.network = SPADEDiffusionModelUNet(
            spatial_dims=2, in_channels=channels * row.patch**2, out_channels=channels * row.patch**2,
            label_nc=told * row.patch**2, channels=tuple(row.features), attention_levels=[False] * len(row.features),
            num_res_blocks=1, norm_num_groups=GROUPS, num_class_embeds=classes + 1, spade_intermediate_channels=32,
        )  # fmt: skip

    def forward(self, image: Tensor, condition: Tensor, time: Tensor, group: Tensor) -> Tensor:
        """As the concatenating network's."""
        folded, seg = (fold(part, self.patch) for part in (image, condition))
        return unfold(self.network(folded, time, seg=seg, class_labels=group), self.patch)


def unmoved(batch: Drawn) -> Drawn:
    """A batch that DiffAugment leaves as it is."""
    still = torch.full_like(batch.uniform, 0.5)
    still[:, 5:7] = NOWHERE
    return batch._replace(uniform=still)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What differs from the row of `params.yaml`."""

    matching: float | None = None
    slower: float = 1.0
    """What both learning rates are divided by."""
    spade: bool = False
    learns: bool = True
    change: Callable[[Drawn], Drawn] | None = None

    def row(self, row: Gan, steps: int) -> Gan:
        """The row with it."""
        fitting = dataclasses.replace(row.fitting, steps=steps, learning_rate=row.fitting.learning_rate / self.slower)
        return dataclasses.replace(
            row, fitting=fitting, critic_rate=row.critic_rate / self.slower,
            matching=row.matching if self.matching is None else self.matching,
        )  # fmt: skip


SHIPPED = "as in params.yaml"
RECIPES = {
    SHIPPED: Recipe(),
    "SPADE, not concatenation": Recipe(spade=True),
    "no feature matching": Recipe(matching=0.0),
    "feature matching of 10": Recipe(matching=10.0),
    "no DiffAugment": Recipe(change=unmoved),
    "a fifth of the rates": Recipe(slower=5.0),
    "nothing learned, the noise it begins with": Recipe(learns=False),
}


def parts(generator: str, row: Gan) -> tuple[Slices, Slices]:
    """Slices of learned and of unseen training patients, with the styles and heads of the generator that is there."""
    made, store = load(places.generator(generator)), Store.open(places.build(row.study))
    painter, known = made.painter, {head.key: head for head in made.anatomies.heads}
    assert isinstance(painter, Painter)
    cases = [case for case in store.select("train") if case.case in known]
    inner, order = set_apart(row, cases), [head.key for head in made.anatomies.heads]

    def slices(within: bool) -> Slices:
        some = [case for case in cases if (case.patient in inner) == within]
        labels = [store.label(case) for case in some]
        maps = [np.where(label > 0, label, known[case.case].map) for case, label in zip(some, labels, strict=True)]
        tables = [painter.styles.table(painter.styles.known[order.index(case.case)]) for case in some]
        return Slices(store, some, maps, tables, painter.conditions, row.seed)

    return slices(False), slices(True)


def tried(name: str, recipe: Recipe, row: Gan, learned: Slices, unseen: Slices, scratch: Scratch) -> dict[str, Any]:
    """Train a recipe, and judge it."""
    channels, conditions = len(learned.store.channels), learned.conditions
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(row.seed)
        module = module_of(row, channels, conditions)
        if recipe.spade:
            told = conditions.channels(channels)
            module = Teaching(Spade(channels, told, row, len(conditions.groups)), module.critic, row)
    batches, change, start = Batches(learned, row.fitting.batch), recipe.change, time.perf_counter()
    if recipe.learns:
        loop.fit(
            module, (lambda step: change(batches(step))) if change else batches, row.fitting.steps, row.fitting.steps,
            scratch.path / f"{list(RECIPES).index(name)}.ckpt", name, row.fitting.batch,
        )  # fmt: skip
    taken, network = time.perf_counter() - start, module.average.module.cpu().eval()
    shown = [Sliced.of(part, JUDGED).shown(network, row) for part in (learned, unseen)]
    found: Judged = judge(row.fitting.steps, *shown)
    weights = sum(part.numel() for part in network.parameters())
    return found.row() | {"seconds_per_step": taken / row.fitting.steps, "weights": weights}


def markdown(found: dict[str, dict[str, Any]], steps: int) -> str:
    """The table for people."""
    rows = [
        (name, f"{one['kernel_distance']:.6f}", f"{one['one_nn_accuracy']:.2f}", f"{one['seconds_per_step']:.2f}",
         f"{one['weights'] / 1000:.0f}k")
        for name, one in found.items()
    ]  # fmt: skip
    head = ("recipe", "kernel distance", "1-NN accuracy", "seconds a step", "weights")
    return f"# The GAN's recipe\n\n{steps} steps each.\n\n" + trials.table(head, rows)


def main(*arguments: str) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="gan", help="a GAN of params.yaml that dvc repro has trained")
    parser.add_argument("--steps", type=int, default=300, help="training steps of each recipe")
    asked = parser.parse_args(arguments)
    row = params.load().generators.get(asked.generator)
    if not isinstance(row, Gan) or row.paints == "lesion" or asked.steps < 1:
        raise ParamsError(f"expected a GAN that paints heads, and steps, got {asked.generator!r} and {asked.steps}")
    learned, unseen = parts(asked.generator, row)
    found = {}
    with Scratch.opened(
        "bench-recipes", {"steps": asked.steps, "row": params.as_plain(row)}, root=Path(".scratch")
    ) as scratch:
        for name, recipe in RECIPES.items():
            found[name] = tried(name, recipe, recipe.row(row, asked.steps), learned, unseen, scratch)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    write_json(OUT / "recipes.json", {"steps": asked.steps, "found": found})
    write_text(OUT / "recipes.md", markdown(found, asked.steps))
    print(markdown(found, asked.steps))
    return 0 if min(found, key=lambda name: found[name]["kernel_distance"]) == SHIPPED else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except SynthgateError as error:
        print(f"bench/recipes.py: {error}", file=sys.stderr)
        sys.exit(2)
