"""Run every kind of kernel on tiny shapes and compare with the CPU, each in a process of its own.

So an error that CUDA does not recover from ends one kind alone. A wait that never ends is such an error, not a hang.
"""

import cupy_here  # noqa: F401 - first

# isort: split

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

import rgru
from gpu.checks import BOUNDS, KINDS_OF_FORMS, differences
from gpu.forms import bound_waits, forced, of_each_kind
from rgru._cuda.device import open_device

EMULATED = "--emulated" in sys.argv
KINDS = ("float32",) if EMULATED else ("float32", "bfloat16", "tf32", "float16", "tf32x3")
SIZES = ((3, 4),) if EMULATED else ((1, 70), (19, 5))
HIDDEN = 20 if EMULATED else 96
SECONDS = 70
"""For each kind of form, all of them at once."""

CELLS = {"reset before": {}, "reset after": {"reset_after": True}}
CUSTOM = {"softsign": {"activation": "softsign", "reverse": True}}
"""In one precision: each is a compilation more."""


def one(form: str) -> int:
    """Run a kind of form; return 1 if a result differs by more than its bound, or if something failed."""
    bound_waits()
    chip, worst = open_device(0).chip, 0.0

    def choose(cell, count, directions):
        found = of_each_kind(chip, cell, count, directions)
        return found.get(form, found["STEPS"])  # there are no clusters before compute capability 9.0

    for kind in KINDS:
        for name, options in (CELLS | CUSTOM if kind == KINDS[0] else CELLS).items():
            gru = rgru.GRU(24, HIDDEN, seed=0, **options)
            with forced(choose):
                for batch, steps in SIZES:
                    case = f"{form:8} {kind:8} {name:12} B={batch} T={steps}:"
                    found = {what: value / BOUNDS[kind] for what, value in differences(gru, kind, batch, steps).items()}
                    largest = float(np.max([*found.values()]))  # NaN stays
                    worst = float(np.maximum(worst, largest))
                    wrong = [what for what, value in found.items() if not value <= 1]
                    print(f"{case} {largest:.3f} of the bound{f'  WRONG: {wrong}' if wrong else ''}", flush=True)
    print(f"{form}: at most {worst:.3f} of the bounds", flush=True)
    return 0 if worst <= 1 else 1


def limited(form: str) -> tuple[int | None, str]:
    """Run a kind of form in a process; return its exit status, None if it took too long, and its output."""
    try:
        done = subprocess.run(
            [sys.executable, *sys.argv, form],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout


def main() -> int:
    """Run all kinds of forms; return 1 if one fails."""
    begun = time.perf_counter()
    failed = []
    with ThreadPoolExecutor(2 if EMULATED else len(KINDS_OF_FORMS)) as pool:
        running = {pool.submit(limited, form): form for form in KINDS_OF_FORMS}
        for done in as_completed(running):  # one that cannot be ended hides no other
            code, output = done.result()
            print(output, end="", flush=True)
            if code != 0:
                failed.append(f"{running[done]} {'timed out' if code is None else f'exit {code}'}")
                print(f"smoke: FAILED: {', '.join(failed)}", flush=True)
    verdict = f"FAILED: {', '.join(failed)}" if failed else "all forms equal the CPU"
    print(f"smoke: {verdict}, {time.perf_counter() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(one(sys.argv[-1]) if sys.argv[-1] in KINDS_OF_FORMS else main())
