"""Measure what the ways to exchange data between blocks cost on this GPU, in cycles a turn, for the cost model."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rgru._cuda import kernels

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 4000
KINDS = ("BARRIER", "CLUSTER", "ASYNC", "PACKETS", "COUNTER", "READ", "CLOCK", "STEP")
"""By their numbers in the source."""
WHEN = ("", ", stores before", ", stores after")
NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14
READ_BYTES = 1 << 16
"""Of a block in a turn."""
SHARED_BYTES = 4096


class Case(NamedTuple):
    """One exchange; names are the source's macros."""

    kind: str
    what: str
    blocks: int = 1
    stores: int = 0
    release: int = 1
    shared: int = 0
    each: int = 1
    together: int = 0

    @property
    def name(self) -> str:
        return f"{self.blocks:3} blocks, {self.what}{WHEN[self.stores]}"

    @property
    def options(self) -> tuple[str, ...]:
        macros = {"KIND": KINDS.index(self.kind), "BLOCKS": self.blocks, "STORES": self.stores, "EACH": self.each}
        macros |= {"RELEASE": self.release, "SHARED": self.shared, "TOGETHER": self.together}
        return tuple(f"-D{name}={value}" for name, value in macros.items())


def source() -> str:
    """Return the CUDA source: the instructions of rgru's kernels, and the exchanges."""
    files = Path(kernels.__file__).with_name("hardware.cuh"), Path(__file__).with_name("probe.cu")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def clusters(blocks: int) -> list[Case]:
    """Return the exchanges of a cluster."""
    barriers = [
        Case("CLUSTER", "cluster barrier, relaxed", blocks, release=0),
        Case("CLUSTER", "cluster barrier, release", blocks),
        *(Case("CLUSTER", "shared memory and barrier", blocks, stores, shared=1) for stores in range(3)),
    ]
    return barriers + [Case("ASYNC", "st.async and mbarrier", blocks, stores) for stores in range(3)]


def packets(blocks: int, each: int) -> list[Case]:
    """Return the exchanges of packets."""
    words = ("retried one by one", "retried together")
    return [
        Case("PACKETS", f"{each:2} packets of each, {words[together]}", blocks, stores, each=each, together=together)
        for together in (0, 1)
        for stores in range(3)
    ]


CLOCK, STEP = Case("CLOCK", "clock"), Case("STEP", "kernel of a graph", 132)
CASES = sorted(
    [
        Case("BARRIER", "__syncthreads of 256 threads"),
        Case("READ", "64 KB from the second-level cache"),
        Case("READ", "64 KB from the second-level cache", 128),
        *(Case("COUNTER", "counter", blocks, stores) for blocks in (16, 64, 128) for stores in range(3)),
        *(
            case
            for blocks, each in ((16, 12), (32, 24), (64, 48), (128, 3), (128, 24))
            for case in packets(blocks, each)
        ),
        *(case for blocks in (2, 4, 8, 16) for case in clusters(blocks)),
    ],
    key=lambda case: case.kind == "ASYNC",
)
"""Those of the newest instructions are the last: after some errors nothing more can be measured."""


def constants(cycles: dict[Case, float]) -> dict[str, float | None]:
    """Return what the cost model's constants would be, None where a case is missing.

    An exchange is a barrier of the block, which the model adds, and the wait; in packets also what is fetched.
    """
    block = cycles.get(Case("BARRIER", "__syncthreads of 256 threads"))
    found: dict[str, float | None] = {"BLOCK": block}
    chosen = {
        "CLUSTER by barrier": clusters(8)[3],
        "CLUSTER by st.async": clusters(8)[6],
        "GRID": Case("COUNTER", "counter", 64, 1),
        "PACKETS one by one": packets(64, 48)[1],
        "PACKETS together": packets(64, 48)[4],
    }
    read = cycles.get(Case("READ", "64 KB from the second-level cache"))
    for name, case in chosen.items():
        fetched = 16 * case.blocks * case.each * read / READ_BYTES if case.kind == "PACKETS" and read else 0.0
        found[name] = cycles[case] - fetched if case in cycles else None
    return found


class Probe:
    """The GPU, and memory for all cases."""

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.memory = cupy.zeros(4 * 2**20, cupy.uint8)
        self.written = cupy.zeros(1 << 24, cupy.float32)

    def kernel(self, case: Case):
        """Compile a case."""
        cooperative = case.kind in ("PACKETS", "COUNTER")
        code = source()
        module = self.cupy.RawModule(code=code, options=case.options, enable_cooperative_groups=cooperative)
        kernel = module.get_function("probe")
        if case.kind in ("CLUSTER", "ASYNC") and case.blocks > 8:
            self.cupy.cuda.driver.funcSetAttribute(kernel.kernel.ptr, NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1)
        return kernel

    def run(self, case: Case, kernel, turns: int = TURNS):
        """Return the cycles of a turn, and what stands behind the blocks' cycles in the result."""
        grid = 64 if case.kind in ("CLUSTER", "ASYNC") else case.blocks  # several clusters at once
        best, rest = float("inf"), 0
        for _ in range(3):
            self.memory.fill(0)
            result = self.cupy.zeros(grid + 1, self.cupy.uint64)
            kernel(
                (grid,), (256,), (self.memory, self.written, result, self.cupy.int32(turns)), shared_mem=SHARED_BYTES
            )
            *cycles, rest = result.get().tolist()
            best = min(best, max(cycles) / turns)
        return best, rest

    def megahertz(self) -> float:
        """Return the clock, under the load of one block, after some time: it is low where there was no work."""
        turns = 4_000_000
        cycles, nanoseconds = self.run(CLOCK, self.kernel(CLOCK), turns)
        return 1000 * cycles * turns / nanoseconds

    def graph(self, length: int = 64, launches: int = 20) -> float:
        """Return the microseconds of a kernel of a graph, with the gap before it; each reads what the last wrote."""
        cupy, kernel = self.cupy, self.kernel(STEP)
        arguments = (self.memory, self.written, cupy.zeros(STEP.blocks + 1, cupy.uint64), cupy.int32(1))
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with stream:
            kernel((STEP.blocks,), (256,), arguments)  # loads it
            stream.begin_capture()
            for _ in range(length):
                kernel((STEP.blocks,), (256,), arguments)
            graph = stream.end_capture()
            begun, done = cupy.cuda.Event(), cupy.cuda.Event()
            for _ in range(3):
                begun.record(stream)
                for _ in range(launches):
                    graph.launch(stream)
                done.record(stream)
                stream.synchronize()
        return 1000 * cupy.cuda.get_elapsed_time(begun, done) / (launches * length)


def main(out: Path) -> int:
    """Print a table, write ``probe.json``, and return 1 if something failed, or if a packet was torn."""
    probe = Probe()
    rows: list[dict[str, object]] = []
    cycles: dict[Case, float] = {}
    found: dict[str, object] = {"turns": TURNS, "rows": rows}
    try:
        found["megahertz"] = clock = measured(probe.megahertz)
        found["graph_microseconds"] = step = measured(probe.graph)
        print(f"clock {clock:.0f} MHz, a kernel of a graph {step:.2f} us = {step * clock:.0f} cycles", flush=True)
        with ThreadPoolExecutor(8) as pool:
            kernels = [pool.submit(probe.kernel, case) for case in CASES]
        wrong = 0
        for case, kernel in zip(CASES, kernels, strict=True):
            row = case._asdict()
            try:
                cycles[case], bad = probe.run(case, kernel.result())
                row |= {"cycles": cycles[case], "wrong": bad}
                wrong += bad
                rate = f", {READ_BYTES / cycles[case]:.0f} bytes a cycle" if case.kind == "READ" else ""
                text = f"{cycles[case]:6.0f}{rate}{f'  WRONG: {bad}' if bad else ''}"
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:300]
                text = row["error"]
            rows.append(row)
            print(f"{case.name:66} {text}", flush=True)
        found["constants"] = {**constants(cycles), "_LAUNCH": step * clock}
        print(f"torn packets, or stores that did not arrive: {wrong}")
        print(proposal(found["constants"]))
    finally:
        (out / "probe.json").write_text(json.dumps(found, indent=1) + "\n")
    return 1 if wrong or len(cycles) < len(CASES) or isnan(step * clock) else 0


def measured(measure: Callable[[], float]) -> float:
    """Return what is measured, NaN if that fails: the rest is measured all the same."""
    try:
        return measure()
    except Exception as error:
        print(f"{measure.__name__}: {type(error).__name__}: {error}")
        return nan


def proposal(measured: dict[str, float | None]) -> str:
    """Return the measured constants in one line, beside those of the cost model."""
    from rgru._cuda import cost_model

    present = {str(exchange.name): value for exchange, value in getattr(cost_model, "_WAIT", {}).items()}
    present["_LAUNCH"] = getattr(cost_model, "_LAUNCH", None)
    parts = [
        f"{name} {'-' if value is None else format(value, '.0f')} (is {present.get(name.split()[0], '-')})"
        for name, value in measured.items()
    ]
    return f"for cost_model, cycles: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
