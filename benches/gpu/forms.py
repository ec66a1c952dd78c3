"""Configurations of the kernels: those that the plan chooses, forcing others, and compiling many at once."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rgru._cuda import plan as plans
from rgru._cuda.cost_model import cost_of_persistent, cost_of_steps
from rgru._cuda.kernel_config import CellSpec, Chip, LaunchShape, Precision, Steps
from rgru._cuda.precision import allow_tf32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpu.cases import Shape

    Form = LaunchShape | Steps


def cell_of(kind: str, hidden: int, *, reset_after: bool, backward: bool) -> CellSpec:
    return CellSpec(Precision[kind.upper()], reset_after, hidden, backward)


def planned(chip: Chip, shape: Shape, backward: bool) -> Form:
    """Return the configuration that the plan chooses."""
    cell = cell_of(shape.kind, shape.hidden, reset_after=shape.reset_after, backward=backward)
    return plans.plan(chip, cell, shape.batch, 1)


def name_of(form: Form, full: bool = False) -> str:
    """Describe a configuration in short: kind, blocks x units, sequences at once, teams; if `full`, the threads too."""
    if isinstance(form, Steps):
        return "steps"
    name = f"{form.exchange.name.lower()} {form.blocks}x{form.units} b{form.batch} t{form.teams}"
    if not full:
        return name
    inside = (
        f"{form.register_steps} register steps"
        if form.cell.precision.matrix_units
        else f"{form.unit_tile}x{form.batch_tile}"
    )
    return f"{name}, {form.threads} threads, {form.slices} slices, {inside}"


def offered(chip: Chip, cell: CellSpec, count: int, directions: int = 1) -> list[tuple[float, Form]]:
    """Return all configurations that fit, with the estimated cycles of a step, cheapest first."""
    found: list[tuple[float, Form]] = [(cost_of_steps(chip, cell, count, directions), Steps(cell))]
    for form in dict.fromkeys(plans.launch_shapes(chip, cell, count, directions)):  # some appear twice
        found.append((cost_of_persistent(chip, form, count, directions), form))
    return sorted(found, key=lambda one: one[0])


def of_each_kind(chip: Chip, cell: CellSpec, count: int, directions: int = 1) -> dict[str, Form]:
    """Return the cheapest configuration of each kind."""
    found: dict[str, Form] = {}
    for _, form in offered(chip, cell, count, directions):
        found.setdefault(form.exchange.name if isinstance(form, LaunchShape) else "STEPS", form)
    return found


MOST_CYCLES = 2**33
"""Cycles of one wait: some seconds."""


def bound_waits() -> None:
    """Make kernels that are compiled from now on fail where a wait never ends, which nothing could interrupt."""
    from rgru._cuda import device, kernels

    source = f"#define MOST_CYCLES {MOST_CYCLES}\n{kernels.source()}"
    patched: Any = device
    patched.source = lambda: source


def allow(kind: str) -> None:
    """Allow rgru the products that `kind` names."""
    allow_tf32(kind.startswith("tf32"), terms=3 if kind == "tf32x3" else 1)


@contextmanager
def forced(choose: Callable[[CellSpec, int, int], Form]) -> Iterator[None]:
    """Make layers use the configuration that ``choose(cell, count, directions)`` returns."""
    from rgru._cuda.device import Device

    patched: Any = Device
    usual = patched.plan
    patched.plan = lambda device, cell, count, directions: choose(cell, count, directions)
    try:
        yield
    finally:
        patched.plan = usual


def _compile(forms: list[Form]) -> list[str]:
    """Compile into CuPy's cache on disk; return the errors."""
    from rgru._cuda.device import open_device

    bound_waits()
    device, wrong = open_device(0), []
    for form in forms:
        try:
            if isinstance(form, Steps):
                device._load(form, "advance")
                continue
            device._load(form, "recurrence_backward" if form.cell.backward else "recurrence_forward")
            if form.exchange.through_memory:  # which is in another module
                device._load(form, "pack")
        except Exception as error:
            wrong.append(f"{name_of(form)} of {form.cell}: {error!r}"[:500])
    return wrong


def compile_all(forms: Iterable[Form], seconds: float) -> list[str]:
    """Compile configurations in parallel and in order, into CuPy's cache on disk; return the errors."""
    ordered = list(dict.fromkeys(forms))
    processes = max(1, min(12, (os.cpu_count() or 1) - 1, len(ordered) // 8))
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    parts = [pool.submit(_compile, ordered[start : start + 8]) for start in range(0, len(ordered), 8)]
    wrong: list[str] = []
    try:
        for part in as_completed(parts, timeout=seconds):
            wrong += part.result()
    except Exception as error:
        wrong.append(f"compiling ahead ended early: {error!r}")
        workers: Any = pool
        for process in [*workers._processes.values()]:
            process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)
    return wrong
