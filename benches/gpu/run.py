"""Compare rgru with PyTorch on one GPU: ``python benches/gpu --out FOLDER``, in under 8 minutes.

Compares results with the CPU first. Prints tables and writes ``gpu.json`` and ``gpu.png``. What fails stops nothing,
but the exit status is then 1. A ratio is PyTorch's time divided by rgru's: of plain calls, and of CUDA graphs of both.
``--tune`` measures what the constants of the cost model need.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu import checks, measure
from gpu.cases import ASSUMED, Deadline
from gpu.clock import Clock
from gpu.forms import bound_waits
from gpu.report import draw
from gpu.tune import tune

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rgru._cuda.kernel_config import Chip

SECONDS = {"parity": 60, "sanitizer": 110, "inference": 160, "training": 110, "before": 40, "tune": 240}
"""Limits of the sections; loading takes the rest of the eight minutes, and sections that exceed their limits."""

TOTAL = 465
USUAL = ("parity", "sanitizer", "inference", "training", "before")


class Bench:
    """The sections, and what they share: the clock, the chip and its measured limits."""

    def __init__(self, quick: bool) -> None:
        from rgru._cuda.device import open_device

        self.quick = quick
        self.clock = Clock()
        self.chip: Chip = open_device(0).chip

    @cached_property
    def place(self) -> measure.Place:
        try:
            limits = measure.limits(self.clock)
        except Exception as error:
            print(f"the limits could not be measured and are assumed: {error!r}")
            limits = ASSUMED
        return measure.Place(self.clock, self.chip, limits)

    def parity(self, deadline: Deadline) -> Any:
        rows = checks.parity(self.chip, deadline.left / 2)
        wrong = [row for row in rows if row["wrong"]]
        print(f"equal to the CPU: {len(rows) - len(wrong)} of {len(rows)} cases")
        return {"rows": rows}

    def sanitizer(self, deadline: Deadline) -> Any:
        checks.compile_every_form(self.chip, deadline.left / 3)
        found: dict[str, Any] = {}
        for tool in ("memcheck",) if self.quick else ("memcheck", "racecheck"):
            found[tool] = checks.sanitized(tool, max(5.0, deadline.left / (1 if found or self.quick else 2)))
            print(f"{tool}: {found[tool]['verdict']}\n{found[tool].get('output', '')}")
        return found

    def inference(self, deadline: Deadline) -> Any:
        return measure.against_torch(self.place, False, self.quick, deadline)

    def training(self, deadline: Deadline) -> Any:
        return measure.against_torch(self.place, True, self.quick, deadline)

    def before(self, deadline: Deadline) -> Any:
        return measure.reset_before(self.place, deadline)

    def tune(self, deadline: Deadline) -> Any:
        return tune(self.clock, self.chip, self.quick, deadline)

    @property
    def sections(self) -> Mapping[str, Callable[[Deadline], Any]]:
        return {name: getattr(self, name) for name in SECONDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer shapes, a third of the time")
    parser.add_argument("--seconds", type=float, help="the limit of each section (default: its own)")
    parser.add_argument("--only", choices=[*SECONDS], action="append", help="run only this section; may be repeated")
    parser.add_argument("--tune", action="store_true", help="the same as --only tune")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="for results (default: here)")
    options = parser.parse_args()
    names = [*(options.only or ()), *(("tune",) if options.tune else ())] or [*USUAL]
    import torch  # before CuPy, so that both use the libraries that PyTorch comes with

    begun = time.perf_counter()
    bound_waits()
    bench = Bench(options.quick)
    found: dict[str, Any] = {"about": about(torch)}
    print(json.dumps(found["about"], indent=1), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with bench.clock.here():
        for name in names:
            left = max(TOTAL, SECONDS[name]) - (time.perf_counter() - begun)
            limit = options.seconds or SECONDS[name] / (3 if options.quick else 1)
            print(f"\n== {name}", flush=True)
            try:
                found[name] = bench.sections[name](Deadline(min(left, limit)))
            except Exception as error:
                traceback.print_exc()
                found[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
            found[name]["seconds"] = time.perf_counter() - begun
            if "place" in vars(bench):
                found["limits"] = asdict(bench.place.limits)
            # After every section, so that a later failure loses nothing.
            (options.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    try:
        draw(found, options.out / "gpu.png")
    except ImportError as error:
        print(f"no picture: {error}")
    print(f"\nwritten to {options.out}; {time.perf_counter() - begun:.0f} s")
    wrong = problems({name: found[name] for name in names})
    if wrong:
        sys.exit("\n".join(["", *wrong]))


def problems(sections: Mapping[str, Any]) -> list[str]:
    """Return a line for each section that failed, and for each result that is wrong, the worst first."""
    failed = [f"{name} failed: {found['error']}" for name, found in sections.items() if "error" in found]
    rows = [row for found in sections.values() for row in found.get("rows", []) if row.get("wrong")]
    rows.sort(key=lambda row: -np.nan_to_num(row.get("difference", np.inf), nan=np.inf))
    return failed + [f"WRONG: {row['case']}: {row.get('error') or row['difference']}" for row in rows]


def about(torch: Any) -> dict[str, Any]:
    """Describe the machine and the versions."""
    import cupy

    import rgru

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    name = properties["name"].decode()
    date = datetime.now(timezone.utc).date().isoformat()
    versions = {
        "rgru": rgru.__version__,
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "cupy": cupy.__version__,
        "numpy": version("numpy"),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
    }
    return {
        "title": f"{name}, {date}, rgru {versions['rgru']}, torch {versions['torch']}, cuDNN {versions['cudnn']}",
        "date": date,
        "machine": f"{name}, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }
