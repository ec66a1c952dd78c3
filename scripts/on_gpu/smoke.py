"""Run every kind of kernel on tiny shapes and compare with the CPU; a wait that never ends traps instead of hanging."""

import cupy_here  # noqa: F401 - first

# isort: split

import sys
import time

import numpy as np

import rgru
from gpu.checks import BOUNDS, KINDS_OF_FORMS, differences
from gpu.forms import forced, of_each_kind
from rgru._cuda import device, kernels

EMULATED = "--emulated" in sys.argv
KINDS = ("float32",) if EMULATED else ("float32", "bfloat16", "tf32", "float16")
SIZES = ((3, 4),) if EMULATED else ((1, 70), (19, 5))
HIDDEN = 20 if EMULATED else 96

CELLS = {"reset before": {}, "reset after": {"reset_after": True}}
CUSTOM = {"softsign": {"activation": "softsign", "reverse": True}}
"""In one precision: each is a compilation more."""
POLLS = 2**22
"""Some seconds of waiting."""


def main() -> int:
    """Return 1 if a result differs by more than its bound."""
    source = f"#define MOST_POLLS {POLLS}\n{kernels.source()}"
    device.source = lambda: source
    chip, begun, worst = device.open_device(0).chip, time.perf_counter(), 0.0
    for form in KINDS_OF_FORMS:

        def choose(cell, count, directions, form=form):
            found = of_each_kind(chip, cell, count, directions)
            return found.get(form, found["STEPS"])  # there are no clusters before compute capability 9.0

        for kind in KINDS:
            for name, options in (CELLS | CUSTOM if kind == KINDS[0] else CELLS).items():
                gru = rgru.GRU(24, HIDDEN, seed=0, **options)
                with forced(choose):
                    for batch, steps in SIZES:
                        found = [value / BOUNDS[kind] for value in differences(gru, kind, batch, steps).values()]
                        worst = float(np.maximum(worst, np.max(found)))  # NaN stays
                        print(f"{form:8} {kind:8} {name:12} B={batch} T={steps}: {max(found):.3f} of the bound")
    print(f"smoke: at most {worst:.3f} of the bounds, {time.perf_counter() - begun:.0f} s")
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
