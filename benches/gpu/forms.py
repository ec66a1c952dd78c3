"""Forms of the kernels: which ones a shape takes, forcing others, and compiling many at once."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rgru.gpu import plan as plans
from rgru.gpu.costs import cost_of_steps, cost_of_walk
from rgru.gpu.forms import Cell, Chip, Precision, Steps, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_cases import Shape

    Form = Walk | Steps


def cell_of(kind: str, hidden: int, *, reset_after: bool, backward: bool) -> Cell:
    return Cell(Precision[kind.upper()], reset_after, hidden, backward)


def planned(chip: Chip, shape: Shape, backward: bool) -> Form:
    """Give the form that the plan chooses."""
    cell = cell_of(shape.kind, shape.hidden, reset_after=shape.reset_after, backward=backward)
    return plans.plan(chip, cell, shape.batch, 1)


def name_of(form: Form, full: bool = False) -> str:
    """A form in a few letters: kind, blocks x units, sequences at once, teams; how threads share the work, if asked."""
    if isinstance(form, Steps):
        return "steps"
    name = f"{form.exchange.name.lower()} {form.blocks}x{form.units} b{form.batch} t{form.teams}"
    if not full:
        return name
    inside = f"kept {form.kept}" if form.cell.precision.matrix_units else f"{form.unit_tile}x{form.batch_tile}"
    return f"{name}, {form.threads} threads, {form.slices} slices, {inside}"


def offered(chip: Chip, cell: Cell, count: int, directions: int = 1) -> list[tuple[float, Form]]:
    """All forms that there is room for, with the plan's estimates in cycles of a step, cheapest first."""
    found: list[tuple[float, Form]] = [(cost_of_steps(chip, cell, count, directions), Steps(cell))]
    for walk in dict.fromkeys(plans._walks(chip, cell, count, directions)):  # some come twice
        found.append((cost_of_walk(chip, walk, count, directions), walk))
    return sorted(found, key=lambda one: one[0])


def of_each_kind(chip: Chip, cell: Cell, count: int, directions: int = 1) -> dict[str, Form]:
    """The cheapest form of each kind."""
    found: dict[str, Form] = {}
    for _, form in offered(chip, cell, count, directions):
        found.setdefault(form.exchange.name if isinstance(form, Walk) else "STEPS", form)
    return found


@contextmanager
def forced(choose: Callable[[Cell, int, int], Form]) -> Iterator[None]:
    """Let layers take the form that ``choose(cell, count, directions)`` gives."""
    from rgru.gpu.device import Device

    patched: Any = Device
    usual = patched.plan
    patched.plan = lambda device, cell, count, directions: choose(cell, count, directions)
    try:
        yield
    finally:
        patched.plan = usual


def _compile(forms: list[Form]) -> list[str]:
    """Compile into CuPy's cache on disk; gives what went wrong."""
    from rgru.gpu.device import open_device

    device, wrong = open_device(0), []
    for form in forms:
        try:
            if isinstance(form, Steps):
                device._kernel(form, "advance", False)
                continue
            device._kernel(form, "walk_backward" if form.cell.backward else "walk_forward", True)
            if form.exchange.through_memory:  # whose module is another one
                device._kernel(form, "pack", False)
        except Exception as error:
            wrong.append(f"{name_of(form)} of {form.cell}: {error!r}"[:500])
    return wrong


def compile_all(forms: set[Form], seconds: float) -> list[str]:
    """Compile forms in as many processes as there are cores, for later runs to find; gives what went wrong."""
    ordered = sorted(forms, key=repr)
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
