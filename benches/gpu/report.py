"""Lines, tables and the figure of the results.

``python benches/gpu/report.py inference/gpu.json training/gpu.json --out gpu.png`` draws one figure of several runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # where `gpu` is found

from gpu.cases import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_row(row: dict[str, Any]) -> None:
    """Print one line: ratios, microseconds per step, percentage of the lower bound, configuration, microseconds."""
    if "error" in row:
        print(f"{row['case']} {row['error']}", flush=True)
        return
    form = row["form"] if not row.get("form_back") else f"{row['form']} | {row['form_back']}"
    times = "  ".join(f"{name} {value:,.{1 if value < 1000 else 0}f}" for name, value in row["microseconds"].items())
    graphs = f"{row['ratio_of_graphs']:5.2f}x" if "ratio_of_graphs" in row else "    - "
    notes = [f"{name}: {row[name]}" for name in ("rgru's graph", "torch's graph", "torch.compile") if name in row]
    notes += [f"WRONG by {row['difference']:.1e}"] if row["wrong"] else []
    print(
        f"{row['case']} {row['ratio']:5.2f}x, graphs {graphs} {row['microseconds_a_step']:8.2f} us/step "
        f"{row['percent_of_limit']:5.1f}%  [{form}]  us: {times}",
        *notes,
        sep="\n    ",
        flush=True,
    )


def print_parity(row: dict[str, Any]) -> None:
    """Print one comparison with the CPU: a percentage of the bound."""
    text = row.get("error") or f"{100 * row['of_bound']:.0f}% of the bound: {row['what']}"
    print(f"{row['case']} {text}{'  WRONG' if row['wrong'] else ''}", flush=True)


def print_summary(sums: dict[str, dict[str, Any]]) -> None:
    for ratio, found in sums.items():
        for name, one in found.items():
            print(
                f"{ratio:16} {name:6} geometric mean {one['geometric_mean']:.2f}x, least {one['least']:.2f}x, "
                f"{one['shapes']} shapes"
            )


def print_tuned(rows: list[dict[str, Any]]) -> None:
    """Print the configurations of one cell, with estimated and measured cycles."""
    for row in rows:
        measured = row.get("cycles")
        text = f"{measured:9.0f} measured, {measured / row['estimate']:5.2f} of it" if measured else row["error"]
        print(f"    {row['estimate']:9.0f} estimated {text}  {row['form']}", flush=True)


def draw(found: dict[str, Any], path: Path) -> None:
    """Plot the ratios over B, one line for each H, one panel for each precision, for T = 100."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [name for name in ("inference", "training") if found.get(name, {}).get("rows")]
    if not shown:
        return
    figure, axes = plt.subplots(
        len(shown), len(KINDS), figsize=(4 * len(KINDS), 3.4 * len(shown)), squeeze=False, sharex=True, sharey=True
    )
    for line, name in zip(axes, shown, strict=True):
        for axis, kind in zip(line, KINDS, strict=True):
            rows = [row for row in found[name]["rows"] if row["kind"] == kind and row["time"] == 100 and "ratio" in row]
            for hidden in sorted({row["hidden"] for row in rows}):
                points = sorted((row["batch"], row["ratio"]) for row in rows if row["hidden"] == hidden)
                axis.plot([batch for batch, _ in points], [ratio for _, ratio in points], "o-", label=f"H={hidden}")
            axis.axhline(1, color="black", linewidth=1)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_major_formatter("{x:g}x")
            axis.set_title(f"{name}, {kind}", fontsize=9)
            axis.set_xlabel("B")
            if rows:
                axis.legend(fontsize=6)
        line[0].set_ylabel("torch.nn.GRU's time / rgru's")
    figure.suptitle(found["about"]["title"] + "; reset-after, T=100, plain calls", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", metavar="JSON", help="with different sections")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for path in options.results:
        found |= json.loads(path.read_text("utf-8"))
    for section in found.values():
        print_summary(section.get("summary", {}))
    draw(found, options.out)


if __name__ == "__main__":
    main()
