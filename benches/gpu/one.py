"""One call with a given form of the kernels, for a profiler: ``python -m gpu.one bfloat16 16 1024 PACKETS backward``.

It runs twice; a profiler that starts with cudaProfilerStart sees the second one.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np

import rgru
from gpu.checks import KINDS_OF_FORMS
from gpu.forms import allow, bound_waits, forced, name_of, of_each_kind
from rgru._cuda.device import open_device
from rgru._cuda.dtypes import number_type
from rgru._cuda.kernel_config import Precision
from rgru._cuda.plan import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu.forms import Form
    from rgru._cuda.kernel_config import CellSpec


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="float32, tf32, float16, bfloat16 ...")
    parser.add_argument("batch", type=int)
    parser.add_argument("hidden", type=int)
    parser.add_argument("form", nargs="?", choices=KINDS_OF_FORMS, help="default: the plan's")
    parser.add_argument("way", nargs="?", choices=("forward", "backward"), default="forward")
    parser.add_argument("--steps", type=int, default=100, help="T (default: %(default)s)")
    options = parser.parse_args(arguments)
    import cupy
    from cupyx.profiler import profile

    bound_waits()
    chip, backward = open_device(0).chip, options.way == "backward"

    def choose(cell: CellSpec, count: int, directions: int) -> Form:
        form: Form = plan(chip, cell, count, directions)
        if cell.backward == backward:
            if options.form:
                form = of_each_kind(chip, cell, count, directions)[options.form]
            print(f"{options.way}: {name_of(form, full=True)}", file=sys.stderr)
        return form

    gru = rgru.GRU(64, options.hidden, reset_after=True, seed=0)
    x = np.random.default_rng(0).standard_normal((options.batch, options.steps, 64)).astype(np.float32)
    x = cupy.asarray(x).astype(number_type(Precision[options.kind.upper()]))
    allow(options.kind)
    with forced(choose):
        if backward:
            y, _, tape = gru.record(x)
            tape.backward(y)
        else:
            gru(x)
        cupy.cuda.Device().synchronize()
        with profile():
            if backward:
                tape.backward(y)
            else:
                gru(x)
            cupy.cuda.Device().synchronize()


if __name__ == "__main__":
    main()
