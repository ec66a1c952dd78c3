"""rgru and its peers, side by side in one process, after ``pip install '.[bench]'``: ``python benches/compare.py``.

Prints tables and writes ``compare.json`` and ``compare.png``. A ratio is the best peer's time by rgru's. Every output
is compared with rgru's before it is timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cases
import contenders
import rgru
import sections
from clock import interleaved
from report import draw, geometric_mean, print_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cases import Case
    from contenders import Maker

TOLERANCE = 2e-4
"""Largest difference of outputs, relative to the largest magnitude or 1: sums in another order, gradients included."""

REDUCED_TOLERANCE = 0.05
"""The same for peers that round what they multiply to bfloat16."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds: under two minutes")
    parser.add_argument("--only", choices=[*SECTIONS], action="append", help="this section alone; may be repeated")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the files go (default: here)")
    options = parser.parse_args()
    import torch

    threads = rgru.info()["num_threads"]
    torch.set_num_threads(threads)
    found: dict[str, Any] = {"about": about(threads, "torch", "onnxruntime", "openvino", "jax")}
    print(json.dumps(found["about"], indent=1))
    for name in options.only or SECTIONS:
        print(f"\n== {name}", flush=True)
        found[name] = SECTIONS[name](options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, options.out / "compare.png")
    print(f"\nwritten: {options.out / 'compare.json'}, {options.out / 'compare.png'}")


def about(threads: Any, *libraries: str) -> dict[str, Any]:
    """Machine and versions."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{cpu_name()}, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": threads,
        "isa": rgru.info()["isa"],
        "versions": {"rgru": rgru.__version__} | {name: version(name) for name in (*libraries, "numpy")},
    }


def cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def compare(
    case: Case, makers: Mapping[str, Maker], work: float, rounds: int, reduced: Mapping[str, Maker] | None = None
) -> dict[str, Any]:
    """Check that the outputs agree, then time.

    Peers of `reduced` may compute in a lower precision. They run in the same turns, but are no peers of the ratio.
    """
    reduced = reduced or {}
    made = contenders.made({**makers, **reduced}, case)
    outputs = {name: [np.array(array) for array in read(run())] for name, (run, read) in made.items()}
    for name, arrays in outputs.items():
        tolerance = REDUCED_TOLERANCE if name in reduced else TOLERANCE
        for ours, theirs in zip(outputs["rgru"], arrays, strict=True):
            if ours.shape != theirs.shape:
                sys.exit(f"{case.label}: {name} gives {theirs.shape}, rgru {ours.shape}")
            difference = np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())
            if not difference <= tolerance:
                sys.exit(f"{case.label}: {name} differs from rgru by {difference:.1e}")
    seconds = interleaved({name: run for name, (run, _) in made.items()}, rounds)
    best = min((name for name in seconds if name in makers and name != "rgru"), key=lambda name: seconds[name])
    return {
        "case": case.label,
        "ratio": seconds[best] / seconds["rgru"],
        "best_peer": best,
        "gflops": work * case.flops / seconds["rgru"] / 1e9,
        "microseconds": {name: 1e6 * value for name, value in seconds.items()},
    }


def table(
    sizes: list[Any], makers: Mapping[str, Maker], work: float, rounds: int, reduced: Mapping[str, Maker] | None = None
) -> dict[str, Any]:
    rows = []
    for case in cases.cases(sizes):
        rows.append(compare(case, makers, work, rounds, reduced))
        print_rows(rows[-1:])
    ratios = [row["ratio"] for row in rows]
    summary: dict[str, Any] = {"geometric_mean": geometric_mean(ratios), "least": min(ratios)}
    print(f"geometric mean {summary['geometric_mean']:.2f}, least {summary['least']:.2f}")
    for name in reduced or {}:
        times = [(row["microseconds"][name], row["microseconds"]["rgru"]) for row in rows]
        summary[name] = geometric_mean([theirs / ours for theirs, ours in times])
        faster = sum(theirs < ours for theirs, ours in times)
        print(f"{name}: geometric mean {summary[name]:.2f}, faster than rgru's float32 in {faster} of {len(rows)}")
    return {"rows": rows} | summary


SECTIONS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "pause": sections.pause,
    "inference": lambda quick: table(
        cases.QUICK if quick else cases.INFERENCE, contenders.INFERENCE, 1, 3 if quick else 7, contenders.REDUCED
    ),
    "training": lambda quick: table(
        cases.QUICK[1:] if quick else cases.TRAINING, contenders.TRAINING, 3, 3 if quick else 5
    ),
    "small": lambda quick: table(cases.SMALL[:1] if quick else cases.SMALL, contenders.INFERENCE, 1, 3 if quick else 7),
    "peak": sections.peak,
    "step": sections.step,
    "ragged": sections.ragged,
    "threads": sections.threads,
}

if __name__ == "__main__":
    main()
