"""How often the agreement axis refuses honest batches, and how often bad ones, under three rules for one margin.

Honest batches are drawn from the out-of-fold Dice of development patients (`judges/<study>/measured.npz`), against
which they are judged; bad ones have lost a fixed part of that Dice. Prints a table and writes
reports/bench/agreement-<study>.json. Usage: python bench/agreement.py [STUDY]
"""

import sys
from pathlib import Path

import numpy as np

from synthgate import params, places
from synthgate.files import write_json
from synthgate.gate import measured
from synthgate.stats.intervals import difference

BATCHES = 4000
SIZES = (15, 30, 60)
LOST = (0.0, 0.05, 0.1, 0.2, 0.3)
RULES = {
    "not shown to be no worse": lambda found, margin: found.low <= -margin,
    "shown to be worse, and by more than the margin": lambda found, margin: found.mean < -margin and found.high < 0,
    "shown to be worse by more than the margin": lambda found, margin: found.high < -margin,
}


def main(study: str = "brain") -> int:
    row = params.load().studies[study]
    if not (path := places.judges(study) / "measured.npz").is_file():
        print(f"bench/agreement.py: {path} is missing; run `dvc repro calibrate@{study}` first", file=sys.stderr)
        return 1
    table = measured.read(path)
    confidence = 1 - row.gate.error_rejecting / len(row.cohort.regions)
    rng = np.random.default_rng(0)
    out = []
    for index, region in enumerate(row.cohort.regions):
        pool = table.dice[np.isfinite(table.dice[:, index]), index]
        for size in SIZES:
            for lost in LOST:
                # both sides drawn from the pool: batch and reference are then alike as two samples of one population
                drawn = [(rng.choice(pool, size), rng.choice(pool, len(pool))) for _ in range(BATCHES)]
                found = [difference(np.clip(ours - lost, 0, 1), real, confidence) for ours, real in drawn]
                refused = {
                    name: sum(rule(one, row.gate.agreement_margin) for one in found) / BATCHES
                    for name, rule in RULES.items()
                }
                out.append({"region": region, "donors": size, "dice_lost": lost} | refused)
                shown = ", ".join(f"{name} {share:.1%}" for name, share in refused.items())
                print(f"{region:4} {size:3} donors, Dice {lost:.2f} lower: refused if {shown}")
    write_json(Path("reports/bench") / f"agreement-{study}.json", {"batches": BATCHES, "rows": out})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
