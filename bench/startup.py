"""How long each stage takes to start: the imports of its script, warm, median of three, in a process of its own.

Prints a table, writes reports/bench/startup.json, and exits with 1 where a stage takes longer than its limit.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from synthgate.files import write_json

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "reports" / "bench" / "startup.json"
REPEATS = 3
LIMIT_S = 8.0
LIMITS_S = {"gate": 20.0}  # Great Expectations and Evidently both load there


def main() -> int:
    stages = sorted(script.stem for script in (ROOT / "pipelines").glob("[a-z]*.py"))
    if not stages:
        print(f"no stages to measure: expected scripts in {ROOT / 'pipelines'}", file=sys.stderr)
        return 2
    python = seconds("pass")
    rows = {stage: measure(stage) for stage in stages}
    print(f"{'stage':16} {'median_s':>8} {'limit_s':>8}  (Python itself {python:.2f} s)")
    for stage, row in rows.items():
        told = "" if row["passed"] else "  OVER THE LIMIT"
        print(f"{stage:16} {row['median_s']:8.2f} {row['limit_s']:8.1f}{told}")
    write_json(OUT, {"repeats": REPEATS, "stages": rows})
    print(f"written: {OUT.relative_to(ROOT)}")
    return 0 if all(row["passed"] for row in rows.values()) else 1


def measure(stage: str) -> dict[str, object]:
    """Import the stage's script once to warm the caches, then REPEATS times for the median."""
    code = f"import pipelines.{stage}"
    seconds(code)
    runs = [round(seconds(code), 3) for _ in range(REPEATS)]
    limit = LIMITS_S.get(stage, LIMIT_S)
    median = statistics.median(runs)
    return {"runs_s": runs, "median_s": median, "limit_s": limit, "passed": median <= limit}


def seconds(code: str) -> float:
    """Wall seconds of one `python -c code` in the repository's root; raises CalledProcessError where it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
