"""Timing side by side: noise that hits one contender hits the others too."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAUSE = 0.08
"""Seconds between contenders. Worker threads of ONNX Runtime spin for about 30 ms after a call, and on few cores they
take one from the contender that runs within that time."""

BLOCK = 0.12
"""Seconds that a contender runs without a pause: long beside the clock, the first call and a change of clock rate."""


def seconds_of(run: Callable[[], Any], repeats: int) -> float:
    """Return the mean seconds of one of `repeats` calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def interleaved(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of a call of each contender.

    In each of `rounds` all contenders run for a block, in another order each time: whatever a contender leaves to the
    next one (clock rate, caches, threads), it leaves to all of them.
    """
    repeats = {}
    for name, run in runs.items():
        time.sleep(PAUSE)
        run()
        repeats[name] = max(1, int(BLOCK / max(seconds_of(run, 1), 1e-7)))
        # A first call may be far slower than the rest.
        repeats[name] = max(1, int(BLOCK / max(seconds_of(run, min(repeats[name], 10)), 1e-7)))
    order = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in order.sample(list(runs), len(runs)):
            time.sleep(PAUSE)
            runs[name]()
            found[name].append(seconds_of(runs[name], repeats[name]))
    return {name: statistics.median(values) for name, values in found.items()}


def after(run: Callable[[], Any], before: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of `run` right after the pause that follows each of `before`.

    A call is timed alone, since the first one is the one that another's spinning threads would slow down.
    """
    order = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in before}
    for _ in range(rounds):
        for name in order.sample(list(before), len(before)):
            for _ in range(3):
                before[name]()
            time.sleep(PAUSE)
            found[name].append(seconds_of(run, 1))
    return {name: statistics.median(values) for name, values in found.items()}
