"""Estimated and measured cycles of a step, to fit the constants of the cost model."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from gpu.cases import QUICKLY_TUNED, TUNED, Deadline
from gpu.contenders import products
from gpu.forms import cell_of, compile_all, forced, name_of, of_each_kind, offered
from gpu.report import print_tuned
from report import geometric_mean
from rgru._cuda import plan
from rgru._cuda.kernel_config import LaunchShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu.clock import Clock
    from gpu.forms import Form
    from rgru._cuda.kernel_config import CellSpec, Chip

STEPS = 256

AHEAD = {True: 1_000_000, False: 20_000_000}
"""Nanoseconds for which the device is kept busy before a persistent kernel, or before single steps, so that it never
waits for the host."""


def tune(clock: Clock, chip: Chip, quick: bool, deadline: Deadline) -> Any:
    """Measure some configurations of each cell: the cheapest of each kind, the cheapest of all, and random ones."""
    most = 8 if quick else 12
    cells = [
        (kind, cell_of(kind, hidden, reset_after=reset_after, backward=backward), batch)
        for kind, batch, hidden in (QUICKLY_TUNED if quick else TUNED)
        for reset_after in ((True,) if quick else (True, False))
        for backward in (False, True)
    ]
    # In random order, so that a deadline skips some cells of every kind; the few come with the most telling first.
    order = range(len(cells)) if quick else np.random.default_rng(0).permutation(len(cells))
    picked = {int(i): candidates(chip, cells[i][1], cells[i][2], most) for i in order}
    forms = dict.fromkeys(form for some in picked.values() for _, form in some)
    wrong = compile_all(forms, max(10.0, deadline.left / 3))
    print(
        f"{len(forms)} configurations compiled, {deadline.left:.0f} s left for {len(cells)} cells",
        *wrong,
        sep="\n",
        flush=True,
    )
    rows: list[dict[str, Any]] = []
    for done, i in enumerate(picked):
        if deadline.left < 0:
            print(f"{len(picked) - done} of {len(picked)} cells were left out: the time was up")
            break
        kind, cell, batch = cells[i]
        way = "backward" if cell.backward else "forward"
        print(f"{kind} H={cell.hidden} N={batch} {'after' if cell.reset_after else 'before'} {way}")
        found = [
            measured(clock, chip, kind, cell, batch, estimate=estimate, form=form, deadline=deadline)
            for estimate, form in picked[i]
        ]
        print_tuned(found)
        rows += found
    best = chosen_and_best(rows)
    for row in best:
        print(f"{row['loss']:5.2f}x of the best: {row['cell']} chosen {row['chosen']}, best {row['best']}")
    if best:
        losses = [row["loss"] for row in best]
        means = f"{geometric_mean(losses):.2f}x of the best time, {max(losses):.2f}x at most"
        print(f"tuned: the plan's choices take {means}, {len(best)} cells")
    return {"rows": rows, "losses": best}


def candidates(chip: Chip, cell: CellSpec, count: int, most: int) -> list[tuple[float, Form]]:
    """Pick configurations, with their estimates: the cheapest of each kind, then the cheapest, then random ones."""
    found = offered(chip, cell, count)
    kinds = set(of_each_kind(chip, cell, count).values())
    first = [one for one in found if one[1] in kinds]
    rest = [one for one in found if one[1] not in kinds]
    cheap = rest[: max(0, (most - len(first)) // 2)]
    others = rest[len(cheap) :]
    number = min(len(others), max(0, most - len(first) - len(cheap)))
    chosen = np.random.default_rng(cell.hidden + count).permutation(len(others))[:number]
    return sorted([*first, *cheap, *(others[int(i)] for i in chosen)], key=lambda one: one[0])


def chosen_and_best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each cell how much slower the plan's choice, the lowest estimate, is than the fastest one measured."""
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_cell.setdefault(row["cell"], []).append(row)
    found = []
    for cell, some in by_cell.items():
        timed = [row for row in some if row.get("cycles")]
        chosen = min(some, key=lambda row: row["estimate"])
        if not timed or not chosen.get("cycles"):
            continue
        best = min(timed, key=lambda row: row["cycles"])
        found.append(
            {
                "cell": cell,
                "chosen": chosen["form"],
                "best": best["form"],
                "loss": chosen["cycles"] / best["cycles"],
            }
        )
    return sorted(found, key=lambda row: -row["loss"])


def measured(
    clock: Clock, chip: Chip, kind: str, cell: CellSpec, batch: int, *, estimate: float, form: Form, deadline: Deadline
) -> dict[str, Any]:
    """Measure the recurrence alone, without the products over all steps, in cycles of a step."""
    shape = f"{kind} H={cell.hidden} N={batch} {'after' if cell.reset_after else 'before'}"
    row: dict[str, Any] = {
        "cell": f"{shape} {'backward' if cell.backward else 'forward'}",
        "form": name_of(form, full=True),
        "estimate": estimate,
        "batch_size": batch,
    }
    if isinstance(form, LaunchShape):
        row |= {name: value for name, value in asdict(form).items() if name != "cell"}
        row |= {"shared_bytes": form.shared_bytes, "exchange": form.exchange.name}
    if deadline.left < 0:
        return row | {"error": "the time was up"}
    try:
        taken = _microseconds(clock, chip, cell, kind=kind, batch=batch, form=form)
    except Exception as error:
        return row | {"error": f"{type(error).__name__}: {error}"[:300]}
    return row | {"microseconds_a_step": taken / STEPS, "cycles": taken / STEPS * _cycles()}


def _cycles() -> float:
    """Return the cycles of a microsecond, at the highest clock."""
    import cupy

    return float(cupy.cuda.Device().attributes.get("ClockRate") or 1_980_000) / 1000


def _microseconds(clock: Clock, chip: Chip, cell: CellSpec, *, kind: str, batch: int, form: Form) -> float:
    import cupy
    import ml_dtypes

    number = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(kind, np.float32)
    gru = _gru(cell.hidden, cell.reset_after)
    x = cupy.asarray(np.random.default_rng(0).standard_normal((batch, STEPS, 64)).astype(np.float32)).astype(number)

    def choose(wanted: CellSpec, count: int, directions: int) -> Form:
        return form if wanted.backward == cell.backward else plan.plan(chip, wanted, count, directions)

    spin = _spin()
    with products(kind), forced(choose), watched() as times:
        run: Callable[[], Any] = lambda: gru(x)  # noqa: E731
        if cell.backward:
            y, _, tape = gru.record(x)
            run = lambda: tape.backward(y)  # noqa: E731
        run()  # compiles and packs
        clock.stream.synchronize()
        times.clear()
        begun = time.perf_counter()
        while len(times) < 8 and (len(times) < 3 or time.perf_counter() - begun < 0.2):
            spin((1,), (1,), (np.uint64(AHEAD[isinstance(form, LaunchShape)]),))
            run()
            clock.stream.synchronize()
    return float(statistics.median(1e3 * cupy.cuda.get_elapsed_time(*events) for events in times))


SPIN = """
    extern "C" __global__ void spin(unsigned long long nanoseconds) {
        unsigned long long begun, now;
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begun));
        unsigned polls = 0;  // at most some seconds, should the timer stand still
        do {
            asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        } while (now - begun < nanoseconds && ++polls < 1u << 27);
    }
"""


@cache
def _spin() -> Any:
    """Return a kernel that takes a given number of nanoseconds."""
    import cupy

    return cupy.RawKernel(SPIN, "spin")


@cache
def _gru(hidden: int, reset_after: bool) -> rgru.GRU:
    """Return a GRU, cached, since initialising a large one takes a second."""
    return rgru.GRU(64, hidden, reset_after=reset_after, seed=0)


@contextmanager
def watched() -> Iterator[list[tuple[Any, Any]]]:
    """Collect events around each recurrence, in one kernel or step by step."""
    import cupy

    from rgru._cuda import layer
    from rgru._cuda.device import Device

    patched: Any = Device
    modules: Any = layer
    times: list[tuple[Any, Any]] = []

    def timed(work: Callable[[], Any]) -> Any:
        begun = cupy.cuda.get_current_stream().record()
        result = work()
        times.append((begun, cupy.cuda.get_current_stream().record()))
        return result

    launch, through, back = patched.launch, modules.step_through, modules.step_back

    def watched_launch(device: Device, form: Any, name: str, *rest: Any) -> None:
        if name.startswith("recurrence"):
            timed(lambda: launch(device, form, name, *rest))
        else:
            launch(device, form, name, *rest)

    patched.launch = watched_launch
    modules.step_through = lambda *given, **named: timed(lambda: through(*given, **named))
    modules.step_back = lambda *given, **named: timed(lambda: back(*given, **named))
    try:
        yield times
    finally:
        patched.launch, modules.step_through, modules.step_back = launch, through, back
