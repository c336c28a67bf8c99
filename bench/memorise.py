"""What the guard against memorisation does, and the gate without it, to a generator over-trained on few patients.

The row of a learned generator is trained on a few patients for many more steps than they are good for, twice: with the
guard as the row has it, and without one, when only the last weights are kept. Both paint batches of these patients' own
maps, mildly deformed; the gate judges them as `realistic`. Beside them stands the row as it was trained by `dvc repro`,
which must have run. Nothing is written but OUT: memorise.json, memorise.md, memorise.svg and .scratch, from which a
killed run continues. Exits with 1 where the guard does not stop it, the gate does not refuse the unguarded one for
privacy, or either minds the default.

Usage: python -m bench.memorise [--generator diffusion] [--steps 1500] [--cases 16] [--out reports/bench]
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
from synthgate.cohort import splits
from synthgate.cohort.store import Store
from synthgate.errors import ParamsError, SynthgateError
from synthgate.files import digest_all, write_json, write_text
from synthgate.gate import run
from synthgate.gate.verdict import Verdict
from synthgate.generators import training
from synthgate.generators.patients import chosen
from synthgate.generators.sampling import synthesize
from synthgate.params import Batch, Diffusion, Learned, Patients
from synthgate.scratch import Scratch

FEW = Patients(5, 0)
UNGUARDED = 1e-6
"""A `memorised` that nothing is below."""
CHECKPOINTS = 10
WIDE, HIGH, EDGE = 460, 220, 34


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    generator: str = "diffusion"
    steps: int = 1500
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
    fitting = dataclasses.replace(row.fitting, steps=settings.steps, checkpoint_every=settings.steps // CHECKPOINTS)
    few = dataclasses.replace(row, patients=FEW, recombine=False, fitting=fitting)
    without = dataclasses.replace(fitting, checkpoint_every=settings.steps, memorised=UNGUARDED)
    found = {
        "default": default(settings.generator, shown[0], row.study, guard),
        "guarded": overtrained("guarded", few, settings, guard),
        "unguarded": overtrained("unguarded", dataclasses.replace(few, fitting=without), settings, guard),
    }
    write_json(settings.out / "memorise.json", {"settings": plain(dataclasses.asdict(settings)), "found": found})
    write_text(settings.out / "memorise.svg", svg(found, guard))
    text = markdown(found, guard, settings)
    write_text(settings.out / "memorise.md", text)
    print(text)
    return 0 if shown_by(found) else 1


def shown_by(found: Mapping[str, Any]) -> bool:
    """Whether the guard stops the over-trained one, the gate refuses the unguarded one, and the default passes both."""
    default, guarded, unguarded = (found[name] for name in ("default", "guarded", "unguarded"))
    calm = not (default["stopped"] or default["betrays"])
    return bool(calm and (guarded["stopped"] or guarded["betrays"]) and unguarded["betrays"])


def default(name: str, batch: str, study: str, guard: float) -> dict[str, Any]:
    """The generator that `dvc repro` trained, and what the gate said of its batch."""
    return told(
        places.reports("train_generator", name), guard, Verdict.read(places.gate(study, batch) / "verdict.json")
    )


def overtrained(name: str, row: Learned, settings: Settings, guard: float) -> dict[str, Any]:
    """Train the row, paint a batch, have it judged."""
    study = params.load().studies[row.study]
    build, judges = places.build(row.study), places.judges(row.study)
    inputs = inputs_of([build, judges])
    code = digest_all([Path(__file__), *(Path(part.__file__).parent for part in (training, run))])
    rows = [params.as_plain(row), params.as_plain(study)]
    key = {"inputs": inputs, "code": code, "rows": rows, "cases": settings.cases, "seed": settings.seed}
    with Scratch.opened(f"memorise-{name}", key, root=settings.out / ".scratch") as scratch:

        def train(out: Path) -> None:
            store = Store.open(build)
            patients = chosen(list(dict.fromkeys(case.patient for case in store.select("train"))), row.patients)
            cases = [case for case in store.select("train") if case.patient in set(patients)]
            training.train(
                name, row, study.prepare, store, cases, patients, out, scratch.within("training"),
                reports=scratch.path / "reports", regions=dict(study.cohort.regions), inputs=inputs,
            )  # fmt: skip

        def paint(out: Path) -> None:
            batch = Batch(row.study, name, settings.cases, settings.seed, "realistic")
            table = splits.read(places.splits(row.study))
            synthesize(trained, out, batch, name, scratch.within("cases"), splits=table, inputs=inputs_of([trained]))

        trained = scratch.once("trained", train)
        batch = scratch.once(name, paint)
        judged = scratch.once("judged", lambda out: run.run(row.study, study, batch, "realistic", out))
        return told(scratch.path / "reports", guard, Verdict.read(judged / "verdict.json"))


def told(reports: Path, guard: float, verdict: Verdict) -> dict[str, Any]:
    """What is compared: the curve, whether the guard stops it, and what the gate holds against the batch."""
    with (reports / "curves" / "checkpoints.csv").open(encoding="utf-8") as stream:
        history = [{key: float(value) for key, value in one.items()} for one in csv.DictReader(stream)]
    failed = [one for one in verdict.findings if one.axis == "privacy" and one.outcome == "failed"]
    return {
        "history": history,
        "stopped": history[-1]["nearness"] < guard,
        "verdict": verdict.verdict,
        "betrays": bool(failed) and (verdict.verdict == "rejected" or bool(verdict.thinned)),
        "thinned": len(verdict.thinned),
        "why": [one.sentence for one in failed],
    }


def markdown(found: Mapping[str, Any], guard: float, settings: Settings) -> str:
    """The table for people."""
    rows = [
        (name, f"{one['history'][-1]['step']:g}", f"{one['history'][-1]['nearness']:.2f}",
         "yes" if one["stopped"] else "no", one["verdict"], one["thinned"], " ".join(one["why"]) or "nothing")
        for name, one in found.items()
    ]  # fmt: skip
    return (
        "# Memorisation\n\n"
        f"`{settings.generator}` as `dvc repro` trained it, and on {FEW.size} patients for up to {settings.steps} "
        f"steps, with the guard (nearness below {guard:g} stops) and without. {settings.cases} cases a batch.\n\n"
        + trials.table(
            ("training", "last step", "nearness then", "below the guard", "verdict as realistic", "cases thinned",
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
    for place, ((name, one), colour) in enumerate(zip(found.items(), ("#393", "#36c", "#c33"), strict=True)):
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
