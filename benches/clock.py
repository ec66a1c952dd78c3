"""Timing side by side: what noise hits one contender hits the others too."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAUSE = 0.01
"""Seconds between contenders, so that no pool still spins while the next one runs."""


def seconds_of(run: Callable[[], Any], repeats: int) -> float:
    """Of one of `repeats` calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def interleaved(runs: Mapping[str, Callable[[], Any]], rounds: int, span: float) -> dict[str, float]:
    """Median seconds of a call, each of `rounds` turns about `span` seconds long."""
    repeats = {}
    for name, run in runs.items():
        run()
        repeats[name] = max(1, int(span / max(seconds_of(run, 1), 1e-7)))
        # A first call may be far slower than the rest.
        repeats[name] = max(1, int(span / max(seconds_of(run, min(repeats[name], 10)), 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()
            found[name].append(seconds_of(run, repeats[name]))
    return {name: statistics.median(values) for name, values in found.items()}
