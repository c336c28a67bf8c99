"""Progress of long work: a total, a rate and the time left, on standard error."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Iterable[T], total: int, what: str, unit: str, *, every_s: float = 5.0) -> Iterator[T]:
    """Yield the items; at most every `every_s` seconds print `what: done/total unit, rate, time left`."""
    start = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= every_s or done == total:
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate
            print(f"{what}: {done}/{total} {unit}, {rate:.3g} {unit}/s, {left:.0f} s left", file=sys.stderr, flush=True)
            shown = now
