"""Checks before anything is timed: results equal those of the CPU, and compute-sanitizer finds no error."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from gpu.cases import KINDS, Shape
from gpu.forms import allow, bound_waits, cell_of, compile_all, forced, of_each_kind, planned
from gpu.report import print_parity

if TYPE_CHECKING:
    from gpu.forms import Form
    from rgru._cuda.kernel_config import CellSpec, Chip

BOUNDS = {"float32": 2e-5, "tf32x3": 2e-5, "tf32": 5e-3, "float16": 1e-2, "bfloat16": 8e-2}
"""Bounds of the differences of outputs and gradients, relative to the largest magnitude or 1."""

SIZES = [(1, 40, 64), (5, 7, 100), (16, 70, 256), (33, 9, 512), (70, 6, 1024)]
"""B, T, H."""


def parity(chip: Chip, seconds: float) -> list[dict[str, Any]]:
    """Compare with the CPU; return a row for each case, with its largest difference as a fraction of its bound."""
    cells = [(size, kind, after) for size in SIZES for kind in KINDS for after in (False, True)]
    shapes = [Shape(kind, batch, time, hidden, after) for (batch, time, hidden), kind, after in cells]
    forms = {planned(chip, shape, backward) for shape in shapes for backward in (False, True)}
    for problem in compile_all(forms, seconds):
        print(problem)
    rows, gru = [], None
    for shape in shapes:
        if gru is None or (gru.hidden_size, gru.reset_after) != (shape.hidden, shape.reset_after):
            gru = rgru.GRU(24, shape.hidden, reset_after=shape.reset_after, seed=0)
        row: dict[str, Any] = {"case": f"{shape.label} {'after' if shape.reset_after else 'before'}"}
        try:
            found = differences(gru, shape.kind, shape.batch, shape.time)
        except Exception as error:
            traceback.print_exc(limit=-4)
            row |= {"wrong": True, "error": f"{type(error).__name__}: {error}"[:500]}
        else:
            what = max(found, key=lambda name: float("inf") if np.isnan(found[name]) else found[name])
            of_bound = found[what] / BOUNDS[shape.kind]
            row |= {"wrong": not of_bound <= 1, "what": what, "difference": found[what], "of_bound": of_bound}
        rows.append(row)
        print_parity(row)
    return rows


def differences(gru: rgru.GRU, kind: str, batch: int, time: int) -> dict[str, float]:
    """Return how far outputs and gradients on the GPU are from the CPU's, relative to the largest magnitude or 1."""
    import cupy
    import ml_dtypes

    number = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(kind, np.float32)
    random = np.random.default_rng(batch)
    x, dy = (
        random.standard_normal((batch, time, width)).astype(number).astype(np.float32)
        for width in (24, gru.hidden_size)
    )

    def run(x: Any, dy: Any) -> dict[str, Any]:
        y, _, tape = gru.record(x)
        grads = tape.backward(dy)
        return {"y": gru(x)[0], "record's y": y, "dx": grads.x, "gradient of the parameters": grads.flat}

    expected = run(x, dy)
    allow(kind)
    try:
        got = run(*(cupy.asarray(array).astype(number) for array in (x, dy)))
    finally:
        allow("float32")
    differences = {}
    for name, value in expected.items():
        found = cupy.asnumpy(got[name]).astype(np.float32)
        differences[name] = float(np.abs(found - value).max() / max(1.0, np.abs(value).max()))
    return differences


SANITIZED = ("float32", "tf32", "bfloat16")
KINDS_OF_FORMS = ("BLOCK", "CLUSTER", "GRID", "PACKETS", "STEPS")
COUNT, HIDDEN, DIRECTIONS = 9, 40, 2


def compile_every_form(chip: Chip, seconds: float) -> None:
    """Compile what `run_every_form` launches, without the sanitizer."""
    forms = {
        form
        for kind in SANITIZED
        for after in (False, True)
        for backward in (False, True)
        for form in of_each_kind(
            chip, cell_of(kind, HIDDEN, reset_after=after, backward=backward), COUNT, DIRECTIONS
        ).values()
    }
    for problem in compile_all(forms, seconds):
        print(problem)


def run_every_form() -> None:
    """Run each kind of configuration forward and backward for three steps: the program for compute-sanitizer."""
    import cupy
    import ml_dtypes

    from rgru._cuda.device import open_device

    bound_waits()
    cupy.cuda.set_allocator(None)  # no pool, so that every access beyond an array is noticed
    chip = open_device(0).chip
    lengths = np.array([3, 3, 2, 0, 3, 1, 3, 3, 3])
    for kind in SANITIZED:
        number = ml_dtypes.bfloat16 if kind == "bfloat16" else np.float32
        allow(kind)
        for reset_after in (False, True):
            gru = rgru.GRU(5, HIDDEN, bidirectional=True, reset_after=reset_after, seed=0)
            x, dy = (cupy.asarray(np.ones((COUNT, 3, n), np.float32)).astype(number) for n in (5, 2 * HIDDEN))
            for name in KINDS_OF_FORMS:

                def choose(cell: CellSpec, count: int, directions: int, name: str = name) -> Form:
                    found = of_each_kind(chip, cell, count, directions)
                    return found.get(name, found["STEPS"])  # there are no clusters before compute capability 9.0

                with forced(choose):
                    gru(x)
                    gru.record(x, lengths=lengths)[2].backward(dy)
                    cupy.cuda.Device().synchronize()
                print(kind, "after" if reset_after else "before", name, flush=True)


def sanitizer(tool: str) -> list[str]:
    """Return the command that runs `run_every_form` under a tool of compute-sanitizer."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    # Libraries ask the driver for what it may lack, which would count as errors; Python takes its time to load CUDA.
    options = ["--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no", "--launch-timeout", "0"]
    return [program, *options, sys.executable, "-m", "gpu.checks"]


def sanitized(tool: str, seconds: float) -> dict[str, Any]:
    """Run `run_every_form` under a tool of compute-sanitizer."""
    command = sanitizer(tool)
    if not Path(command[0]).exists():
        return {"verdict": "compute-sanitizer is not installed"}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, env=environment, stdout=pipe, stderr=pipe, text=True, errors="replace", start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the tool and its target, which would slow down what is timed next
        out, _ = process.communicate()
        return {"verdict": f"not done after {seconds:.0f} s", "output": out[-2000:]}
    verdict = "nothing found" if process.returncode == 0 else f"exit status {process.returncode}"
    errors = [line for line in out.splitlines() if line.startswith("=========")]
    return {"verdict": verdict, "output": "\n".join(errors)[:6000], "end": (out + err)[-1500:]}


def main() -> None:
    """Run every form; with the name of a tool, compile them and then run them in that tool of compute-sanitizer."""
    if not sys.argv[1:]:
        run_every_form()
        return
    from rgru._cuda.device import open_device

    compile_every_form(open_device(0).chip, 30)
    command = sanitizer(sys.argv[1])
    sys.stdout.flush()
    os.execv(command[0], command)  # who ends this process ends the tool


if __name__ == "__main__":
    main()
