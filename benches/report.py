"""Tables and pictures of what `compare.py` finds.

``python benches/report.py`` draws the picture of the README from ``docs/measured/compare.json``, for light and for dark
pages.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch", "jax": "JAX"}
"""The peers of the README's picture, and how they are written."""

THEMES = {"light": ("#24292f", "#d0d7de"), "dark": ("#e2e4e9", "#4a5160")}
"""Colours of text and of faint lines."""

CELLS = {"before": "#4c8dd6", "after": "#d98a29"}
"""Colours of the cells, with a contrast of 3:1 and more on both themes."""


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        times = "  ".join(f"{name} {value:,.{1 if value < 100 else 0}f}" for name, value in row["microseconds"].items())
        print(f"{row['case']:36} {row['ratio']:6.2f}x  {row['gflops']:5.0f} GFLOP/s  us: {times}", flush=True)


def draw(found: dict[str, Any], path: Path, label: str = "best peer's time / rgru's") -> None:
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
        cells = "blue reset-before, orange reset-after" if "tab:blue" in colours else "reset-after"
        axis.set_xlabel(f"{label} ({cells})")
        axis.margins(y=0.01)
    figure.suptitle(f"{_machine(found)}\n{_versions(found)}", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_peers(found: dict[str, Any], folder: Path) -> None:
    """Draw every peer's time relative to rgru's, as ``peers-light.svg`` and ``peers-dark.svg``."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    sections = {name: ratios(found[name]["rows"]) for name in ("inference", "training")}
    largest = max(ratio for peers in sections.values() for dots in peers.values() for ratio, _ in dots)
    for theme, (text, faint) in THEMES.items():
        settings: dict[Any, Any] = {"svg.hashsalt": "rgru", "svg.fonttype": "none", "font.size": 9}
        coloured = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
        with mpl.rc_context(settings | dict.fromkeys(coloured, text)):
            figure = Figure(figsize=(7.2, 0.9 + 0.55 * sum(map(len, sections.values()))), layout="constrained")
            heights = [len(peers) for peers in sections.values()]
            panels = figure.subplots(2, 1, sharex=True, height_ratios=heights)
            for panel, (name, peers) in zip(panels, sections.items(), strict=True):
                _draw_section(panel, peers, text, faint)
                panel.set_title(f"{name}, {len(found[name]['rows'])} shapes", fontsize=9, loc="left")
            panels[0].set_xlim(0.7, 1.3 * largest)
            panels[1].set_xlabel("time relative to rgru, logarithmic")
            handles = [
                mpl.lines.Line2D([], [], linestyle="", marker="o", markersize=4, color=colour, label=f"reset-{cell}")
                for cell, colour in CELLS.items()
            ]
            handles.append(mpl.lines.Line2D([], [], color=text, linewidth=2, label="geometric mean"))
            figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=8)
            figure.supxlabel(f"{_machine(found)}\n{_versions(found)}", fontsize=7)
            metadata = {"Date": None, "Creator": None}
            figure.savefig(folder / f"peers-{theme}.svg", transparent=True, metadata=metadata)


def ratios(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, str]]]:
    """Return the ratios of each peer with the cell of the shape, the fastest peer first."""
    peers: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        times = row["microseconds"]
        for name in NAMES.keys() & times:
            peers.setdefault(name, []).append((times[name] / times["rgru"], row["case"].split()[-1]))
    return dict(sorted(peers.items(), key=lambda peer: geometric_mean([ratio for ratio, _ in peer[1]])))


def _draw_section(panel: Any, peers: dict[str, list[tuple[float, str]]], text: str, faint: str) -> None:
    labels = []
    for place, (name, dots) in enumerate(peers.items()):
        mean = geometric_mean([ratio for ratio, _ in dots])
        for cell, above in (("before", -0.14), ("after", 0.14)):
            shown = [ratio for ratio, of in dots if of == cell]
            style = {"color": CELLS[cell], "markersize": 4, "markeredgewidth": 0, "alpha": 0.7}
            panel.plot(shown, [place + above] * len(shown), "o", **style)
        panel.plot([mean, mean], [place - 0.36, place + 0.36], color=text, linewidth=2)
        labels.append(f"{NAMES[name]}\n{mean:.1f}\N{MULTIPLICATION SIGN}")
    panel.axvline(1, color=text, linewidth=1)
    panel.set_xscale("log")
    ticks = [2, 5, 10, 20, 50, 100, 200]
    panel.set_xticks([1, *ticks], ["rgru", *(f"{tick}\N{MULTIPLICATION SIGN}" for tick in ticks)])
    panel.minorticks_off()
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color=faint, linewidth=0.5)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)


def _machine(found: dict[str, Any]) -> str:
    about = found["about"]
    return f"{about['machine']}, {about['threads']} threads, {about['date']}"


def _versions(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found["about"]["versions"].items())


if __name__ == "__main__":
    docs = Path(__file__).parent.parent / "docs"
    draw_peers(json.loads((docs / "measured" / "compare.json").read_text("utf-8")), docs / "pictures")
