"""Tables and pictures of what `compare.py` finds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        times = "  ".join(f"{name} {value:,.{1 if value < 100 else 0}f}" for name, value in row["microseconds"].items())
        print(f"{row['case']:36} {row['ratio']:6.2f}x  {row['gflops']:5.0f} GFLOP/s  us: {times}", flush=True)


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the ratio of each shape, inference and training side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [name for name in ("inference", "training") if name in found]
    if not shown:
        return
    longest = max(len(found[name]["rows"]) for name in shown)
    figure, axes = plt.subplots(1, len(shown), figsize=(7 * len(shown), 1 + 0.19 * longest), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=True):
        rows = found[name]["rows"][::-1]
        colours = ["tab:blue" if row["case"].endswith("before") else "tab:orange" for row in rows]
        axis.barh([row["case"] for row in rows], [row["ratio"] for row in rows], color=colours)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}x")
        axis.tick_params(axis="y", labelsize=7)
        axis.set_title(f"{name}: geometric mean {found[name]['geometric_mean']:.2f}x")
        axis.set_xlabel("best peer's time / rgru's (blue reset-before, orange reset-after)")
        axis.margins(y=0.01)
    about = found["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    figure.suptitle(f"{about['machine']}, {about['threads']} threads, {about['date']}\n{versions}", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
