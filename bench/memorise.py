"""What the guard against memorisation does to a generator over-trained on few patients, and to one that is not.

The row of a learned generator is trained on a coarser grid, so that it takes minutes: on a few patients for many more
steps than they are good for, with the guard as the row has it and without one; and on all patients for as many steps
as the first was trained (`all`). A batch of the unguarded one, of these patients' own maps, mildly deformed, is judged
by the gate as it is; what it says of privacy is told. Beside them stands the row as `dvc repro` trained it (`default`),
which must have run. Nothing is written but OUT: memorise.json, memorise.md, memorise.svg and .scratch, from which a
killed run continues. Exits with 1 where the guard does not stop it, or where guard or gate minds `all` or `default`.

Usage: python -m bench.memorise [--generator diffusion] [--steps 3000] [--size 48] [--out reports/bench]
"""

import csv
import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import trials
from bench.report import plain
from synthgate import params, places
from synthgate.cards import inputs_of
from synthgate.cohort import entries, splits
from synthgate.cohort import store as stores
from synthgate.cohort.store import Store
from synthgate.errors import ParamsError, SynthgateError
from synthgate.files import digest_all, write_json, write_text
from synthgate.gate import run
from synthgate.gate.verdict import Verdict
from synthgate.generators import training
from synthgate.generators.learned.criterion import Judged
from synthgate.generators.patients import chosen
from synthgate.generators.sampling import synthesize
from synthgate.params import Batch, Diffusion, Learned, Patients
from synthgate.scratch import Scratch

FEW, ALL = Patients(5, 0), Patients("all", 0)
UNGUARDED = 1e-6
"""A `memorised` that nothing is below."""
CHECKPOINTS = 10
WIDE, HIGH, EDGE = 520, 220, 34
COLOURS = ("#393", "#36c", "#999", "#c33")


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    generator: str = "diffusion"
    steps: int = 3000
    size: int = 48
    """Side of the square grid."""
    rate: float = 0.002
    """Learning rate of those over-trained."""
    cases: int = 16
    seed: int = 5
    out: Path = Path("reports/bench")


def main(settings: Settings) -> int:
    everything = params.load()
    row = everything.generators.get(settings.generator)
    if not isinstance(row, Learned):
        raise ParamsError(f"--generator: expected a learned one, got {settings.generator!r}")
    shown = [name for name, one in everything.batches.items() if one.generator == settings.generator]
    if not shown:
        raise ParamsError(f"--generator: no batch of params.yaml is of {settings.generator}, so the gate judged none")
    if settings.steps < CHECKPOINTS or (isinstance(row, Diffusion) and row.privacy):
        raise ParamsError(f"expected --steps of at least {CHECKPOINTS} and a generator without `privacy`")
    guard = row.fitting.memorised
    every = settings.steps // CHECKPOINTS
    fitting = dataclasses.replace(
        row.fitting, steps=settings.steps, checkpoint_every=every, learning_rate=settings.rate
    )
    few = dataclasses.replace(row, patients=FEW, recombine=False, fitting=fitting)
    without = dataclasses.replace(few, fitting=dataclasses.replace(fitting, memorised=UNGUARDED))
    found = {"default": told(places.reports("train_generator", settings.generator), guard, verdict_on(row, shown[0]))}
    found["guarded"] = trained("guarded", few, settings, guard)
    most = int(found["guarded"]["history"][-1]["step"])
    # as many steps on all patients: it is not the steps that are remembered, but few patients
    same = dataclasses.replace(fitting, steps=most, checkpoint_every=min(every, most), memorised=UNGUARDED)
    found["all"] = trained("all", dataclasses.replace(few, patients=ALL, fitting=same), settings, guard)
    found["unguarded"] = trained("unguarded", without, settings, guard, judged=True)
    write_json(settings.out / "memorise.json", {"settings": plain(dataclasses.asdict(settings)), "found": found})
    write_text(settings.out / "memorise.svg", svg(found, guard))
    text = markdown(found, guard, settings)
    write_text(settings.out / "memorise.md", text)
    print(text)
    return 0 if shown_by(found) else 1


def shown_by(found: Mapping[str, Any]) -> bool:
    """Whether the guard stops the over-trained one, and neither it nor the gate minds those that are not."""
    calm = not any(found[name]["stopped"] or found[name]["betrays"] for name in ("default", "all"))
    return bool(calm and found["guarded"]["stopped"])


def verdict_on(row: Learned, batch: str) -> Verdict:
    """The gate's, on a batch of the generator that `dvc repro` trained."""
    return Verdict.read(places.gate(row.study, batch) / "verdict.json")


def trained(name: str, row: Learned, settings: Settings, guard: float, *, judged: bool = False) -> dict[str, Any]:
    """Train the row on a grid of `settings.size`; where wanted paint a batch, and have it judged."""
    study = params.load().studies[row.study]
    judges = places.judges(row.study)
    folder, table = places.data(row.study), splits.read(places.splits(row.study))
    prepare = dataclasses.replace(study.prepare, size=(settings.size, settings.size))
    inputs = inputs_of([folder, places.splits(row.study)])
    code = digest_all([Path(__file__), *(Path(part.__file__).parent for part in (training, run))])
    rows = [params.as_plain(row), params.as_plain(study), params.as_plain(prepare)]
    key = {"inputs": inputs_of([folder, judges]), "code": code, "rows": rows, "of": [settings.cases, settings.seed]}
    everyone = [one for one in entries.real(folder, row.study, study.cohort, table) if one.split == "train"]
    patients = chosen(list(dict.fromkeys(one.patient for one in everyone)), row.patients)
    mine = [one for one in everyone if one.patient in set(patients)]
    with Scratch.opened(f"memorise-{name}", key, root=settings.out / ".scratch") as scratch:

        def store(out: Path) -> None:
            stores.write(out, mine, study.cohort.channels, prepare, scratch.within("shards"))

        def train(out: Path) -> None:
            opened = Store.open(scratch.once("store", store))
            training.train(
                name, row, prepare, opened, opened.cases, patients, out, scratch.within("training"),
                reports=scratch.path / "reports", regions=dict(study.cohort.regions), inputs=inputs,
            )  # fmt: skip

        def paint(out: Path) -> None:
            batch = Batch(row.study, name, settings.cases, settings.seed, "realistic")
            synthesize(made, out, batch, name, scratch.within("cases"), splits=table, inputs=inputs_of([made]))

        made = scratch.once("trained", train)
        if not judged:
            return told(scratch.path / "reports", guard)
        batch = scratch.once(name, paint)
        said = scratch.once("judged", lambda out: run.run(row.study, study, batch, "realistic", out))
        return told(scratch.path / "reports", guard, Verdict.read(said / "verdict.json"))


def told(reports: Path, guard: float, verdict: Verdict | None = None) -> dict[str, Any]:
    """What is compared: the curve, whether the guard stops it, and what the gate, if asked, holds against a batch."""
    with (reports / "curves" / "checkpoints.csv").open(encoding="utf-8") as stream:
        history = [Judged(**{key: float(value) for key, value in one.items()}) for one in csv.DictReader(stream)]
    failed = [one for one in verdict.findings if one.axis == "privacy" and one.outcome == "failed"] if verdict else []
    return {
        "history": [{key: one.row()[key] for key in ("step", "nearness", "chance")} for one in history],
        "stopped": history[-1].memorises(guard),
        "verdict": verdict.verdict if verdict else "–",
        "betrays": bool(verdict and failed and (verdict.verdict == "rejected" or verdict.thinned)),
        "thinned": len(verdict.thinned) if verdict else 0,
        "why": [one.sentence for one in failed],
    }


def markdown(found: Mapping[str, Any], guard: float, settings: Settings) -> str:
    """The table for people."""
    rows = [
        (name, f"{one['history'][-1]['step']:g}", f"{one['history'][-1]['nearness']:.2f}",
         f"{one['history'][-1]['chance']:.1g}", "yes" if one["stopped"] else "no", one["verdict"], one["thinned"],
         " ".join(one["why"]) or ("–" if one["verdict"] == "–" else "nothing"))
        for name, one in found.items()
    ]  # fmt: skip
    return (
        "# Memorisation\n\n"
        f"`{settings.generator}` as `dvc repro` trained it (default); on {settings.size} × {settings.size} pixels, at "
        f"learning rate {settings.rate:g}: on {FEW.size} patients for up to {settings.steps} steps, with the guard "
        f"(nearness below {guard:g}, and not by chance, stops) and without, and on all patients for as many steps as "
        f"the first. The gate judged {settings.cases} cases of the unguarded one as `realistic`.\n\n"
        + trials.table(
            ("training", "last step", "nearness then", "by chance", "memorises", "verdict", "cases thinned",
             "privacy holds against it"), rows)
    )  # fmt: skip


def svg(found: Mapping[str, Any], guard: float) -> str:
    """Nearness at every checkpoint, as a share of each training's longest."""
    most = max(point["step"] for one in found.values() for point in one["history"])

    def across(step: float) -> float:
        return EDGE + step / most * (WIDE - 2 * EDGE)

    def down(value: float) -> float:
        return EDGE + (1.2 - min(value, 1.2)) / 1.2 * (HIGH - 2 * EDGE)

    parts = ["<style>text{font:10px sans-serif}</style>"]
    for value, name in ((1.0, "1"), (guard, f"{guard:g}"), (0.0, "0")):
        parts.append(f'<path d="M{EDGE} {down(value):.1f}H{WIDE - EDGE}" stroke="#ccc"/>')
        parts.append(f'<text x="{EDGE - 24}" y="{down(value) + 3:.1f}">{name}</text>')
    for place, ((name, one), colour) in enumerate(zip(found.items(), COLOURS, strict=True)):
        points = [(across(point["step"]), down(point["nearness"])) for point in one["history"]]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{EDGE + 130 * place}" y="14" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{WIDE - EDGE}" y="{HIGH - 12}" text-anchor="end">step {most:g}; up: nearness</text>')
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{HIGH}">{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    try:
        sys.exit(main(trials.asked(Settings, __doc__ or "")))
    except SynthgateError as error:
        print(f"bench/memorise.py: {error}", file=sys.stderr)
        sys.exit(2)
