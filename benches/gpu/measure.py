"""The sections of the benchmark that measure times."""

from __future__ import annotations

import signal
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import rgru
from gpu import contenders
from gpu.cases import RESET_BEFORE, Deadline, Limits, Shape, shapes, summary
from gpu.forms import compile_all, name_of, planned
from gpu.report import print_row, print_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu.clock import Clock
    from gpu.contenders import Run
    from rgru._cuda.kernel_config import Chip

SPAN = 0.05
"""Seconds for which each contender is measured for each shape."""

MOST_A_SECOND = 3
"""Shapes that are measured in a second, at most: more are not compiled ahead."""

BOUNDS = {"float32": 1e-4, "tf32x3": 1e-4, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 1.5e-1}
"""Bounds of differences from PyTorch, relative to the largest magnitude or 1, after up to a thousand steps."""


@dataclass(frozen=True)
class Place:
    """The clock, the chip and its measured limits."""

    clock: Clock
    chip: Chip
    limits: Limits


def limits(clock: Clock) -> Limits:
    """Measure a copy of two gigabytes, and products of 8192 x 8192 random numbers."""
    import cupy
    import torch

    size = 1 << 31
    source, target = cupy.zeros(size, cupy.uint8), cupy.zeros(size, cupy.uint8)
    took = clock.medians({"copy": partial(cupy.copyto, target, source)}, 0.2)["copy"]
    copied = 2 * size / (1e-6 * took)
    del source, target
    flops = {}
    for kind in ("float32", "tf32", "float16", "bfloat16"):
        dtype = getattr(torch, "float32" if kind == "tf32" else kind)
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
        with contenders.products(kind):
            took = clock.medians({"product": partial(torch.matmul, a, b)}, 0.2)["product"]
        flops[kind] = 2 * 8192**3 / (1e-6 * took)
    flops["tf32x3"] = flops["tf32"] / 3
    print(
        f"copies {copied / 1e12:.2f} TB/s; " + ", ".join(f"{kind} {f / 1e12:.0f} TFLOP/s" for kind, f in flops.items())
    )
    return Limits(copied, flops)


def against_torch(place: Place, training: bool, quick: bool, deadline: Deadline) -> Any:
    """Measure shape by shape, until the deadline."""
    wanted = shapes(training, quick)
    ways = (False, True) if training else (False,)
    reached = wanted[: max(0, int(MOST_A_SECOND * deadline.left))]
    forms = dict.fromkeys(planned(place.chip, shape, backward) for shape in reached for backward in ways)
    wrong = compile_all(forms, max(10.0, deadline.left / 3))
    print(
        f"{len(forms)} configurations compiled, {deadline.left:.0f} s left for {len(wanted)} shapes",
        *wrong,
        sep="\n",
        flush=True,
    )
    rows, failed, skipped = [], 0, 0
    for shape in wanted:
        if deadline.left < 0 or failed > 3:
            skipped += 1
            continue
        row = attempt(partial(compare, place, shape, training), shape)
        failed = failed + 1 if "error" in row else 0
        rows.append(row)
        print_row(row)
    if skipped:
        print(f"{skipped} of {len(wanted)} shapes were left out: {'errors' if failed > 3 else 'the time was up'}")
    usual = [row for row in rows if row["kind"] != "tf32x3"]  # which nobody gets without asking for it
    sums = {ratio: summary(usual, ratio) for ratio in ("ratio", "ratio_of_graphs")}
    print_summary(sums)
    return {"rows": rows, "skipped": skipped, "not_compiled": wrong, "summary": sums}


def attempt(work: Callable[[], dict[str, Any]], shape: Shape) -> dict[str, Any]:
    """Run `work`, and return its error if it fails, so that the other shapes are still measured."""
    try:
        row = work()
    except Exception as error:
        traceback.print_exc(limit=-4)
        row = about(shape) | {"error": f"{type(error).__name__}: {error}"[:500]}
    try:
        make_room()
    except Exception as error:  # CUDA does not recover from some errors, but what has been measured stays
        print(f"no memory is freed: {type(error).__name__}: {error}"[:500])
    return row


def make_room() -> None:
    """Free the memory pools of both libraries, once a third of the memory is in use."""
    import cupy
    import torch

    free, total = cupy.cuda.Device().mem_info
    if free < 2 * total / 3:
        cupy.cuda.Device().synchronize()
        cupy.get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()


def about(shape: Shape) -> dict[str, Any]:
    names = "kind", "batch", "time", "inputs", "hidden", "reset_after"
    return {"case": shape.label} | {name: getattr(shape, name) for name in names}


def compare(place: Place, shape: Shape, training: bool) -> dict[str, Any]:
    """Measure rgru and `torch.nn.GRU`, and compare their results."""
    import cupy

    free, _ = cupy.cuda.Device().mem_info
    if shape.memory(training) > 0.7 * (free + cupy.get_default_memory_pool().free_bytes()):
        return about(shape) | {"error": "too little memory"}
    module, gru = contenders.weights(shape.inputs, shape.hidden)
    x, dy = contenders.tensors(shape)
    with contenders.released(gru):
        runs = {
            "rgru": contenders.ours(gru, contenders.to_cupy(x), contenders.to_cupy(dy), training),
            "torch": contenders.torch_module(module, x, dy, training),
        }
        return timed(place, shape, runs, training)


def against_loops(place: Place, shape: Shape, training: bool, deadline: Deadline) -> dict[str, Any]:
    """Measure rgru and a loop in PyTorch, without a graph also with a compiled step."""
    gru = rgru.GRU(shape.inputs, shape.hidden, seed=0)
    x, dy = contenders.tensors(shape)
    runs = {
        "rgru": contenders.ours(gru, contenders.to_cupy(x), contenders.to_cupy(dy), training),
        "torch": contenders.torch_loop(gru, x, dy, training),
    }
    failed: dict[str, Any] = {}
    if not training and deadline.left > 10:
        try:
            with at_most(min(60.0, deadline.left)):
                compiled = contenders.torch_loop(gru, x, dy, training, compiled=True)
                for _ in range(3):
                    compiled()
            runs["torch, compiled"] = compiled
        except Exception as error:
            failed["torch.compile"] = f"{type(error).__name__}: {error}"[:300]
    return timed(place, shape, runs, training) | failed


def timed(place: Place, shape: Shape, runs: dict[str, Run], training: bool) -> dict[str, Any]:
    """Compare the results of the runs, capture them, and measure calls and graphs."""
    row = about(shape) | {"training": training}
    outputs = []  # graphs write to them
    with contenders.products(shape.kind):
        row["difference"] = difference(runs["rgru"](), runs["torch"]())
        row["wrong"] = not row["difference"] <= BOUNDS[shape.kind]
        clock = place.clock
        for name, capture in (("rgru", clock.captured_by_cupy), ("torch", clock.captured_by_torch)):
            try:
                runs[f"{name}, graph"], result = capture(runs[name])
                outputs.append(result)
            except Exception as error:
                row[f"{name}'s graph"] = f"{type(error).__name__}: {error}"[:300]
        times = clock.medians(runs, SPAN)
    forms = {"form": name_of(planned(place.chip, shape, False))}
    if training:
        forms["form_back"] = name_of(planned(place.chip, shape, True))
    return row | ratios(times, place.limits.seconds(shape, training), shape) | forms


def ratios(times: dict[str, float], limit: float, shape: Shape) -> dict[str, Any]:
    """Return ratios, the time of a step, and the percentage of the lower bound."""
    best = min(time for name, time in times.items() if name.startswith("rgru"))
    row: dict[str, Any] = {"microseconds": times, "ratio": times["torch"] / times["rgru"]}
    if "rgru, graph" in times and "torch, graph" in times:
        row["ratio_of_graphs"] = times["torch, graph"] / times["rgru, graph"]
    return row | {"microseconds_a_step": best / shape.time, "percent_of_limit": 100e6 * limit / best}


def difference(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> float:
    """Return the largest difference of the results of rgru and PyTorch, relative to the largest magnitude or 1."""
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        got, expected = contenders.to_torch(one).float(), other.float()
        if got.shape != expected.shape:
            return float("inf")
        here = float((got - expected).abs().max() / expected.abs().max().clamp(min=1))
        worst = worst if here <= worst else here  # NaN stays
    return worst


def reset_before(place: Place, deadline: Deadline) -> dict[str, Any]:
    """Measure the reset-before cell against a loop in PyTorch: plain, as a graph and compiled."""
    rows = []
    for shape in RESET_BEFORE:
        for training in (False, True):
            if deadline.left < 0:
                print(f"{shape.label}: the time was up")
                continue
            rows.append(attempt(partial(against_loops, place, shape, training, deadline), shape))
            print_row(rows[-1])
    sums = {"ratio": summary(rows, "ratio")}
    print_summary(sums)
    return {"rows": rows, "summary": sums}


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in the main thread after `seconds`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
