"""Draw the pictures of the documentation for light and dark pages: ``python docs/tools/pictures.py``.

Needs rgru with the extra `docs`. ``benches/report.py`` draws those of measurements.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import rgru

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent.parent / "pictures"
THEMES = {"light": ("#24292f", "#d0d7de"), "dark": ("#e2e4e9", "#4a5160")}  # of text and lines, and of faint lines
BLUE, RED, GREEN, ORANGE = "#4c8dd6", "#e0566b", "#3fa66b", "#d98a29"  # 3:1 and more on white and on the dark ground


def padded_and_ragged(text: str, faint: str) -> Figure:
    """Draw three sequences as a padded array with lengths, and as Ragged."""
    lengths, colours = [6, 2, 4], [BLUE, RED, GREEN]
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    above, below = figure.subplots(2, height_ratios=[3, 1.5])
    for row, (length, colour) in enumerate(zip(lengths, colours, strict=True)):
        for step in range(6):
            _cell(above, step, -row, colour if step < length else faint, "" if step < length else "0")
        above.text(6.4, -row - 0.5, f"lengths[{row}] = {length}", va="center")
    above.set(xlim=(-0.1, 12.1), ylim=(-3.1, 0.1), title="x (3, 6, I) and lengths: 18 rows, 6 of them padding")
    offsets = np.cumsum([0, *lengths])
    for start, end, colour in zip(offsets[:-1], offsets[1:], colours, strict=True):
        for step in range(start, end):
            _cell(below, step, 0, colour, "")
    for offset in offsets:
        below.text(offset, -1.15, str(offset), ha="center", va="top")
    below.set(xlim=(-0.1, 12.1), ylim=(-1.9, 0.1), title="Ragged: values (12, I) and offsets [0, 6, 8, 12]")
    for panel in (above, below):
        panel.set_axis_off()
        panel.title.set_fontsize(10)
    return figure


def _cell(panel: Any, x: float, y: float, colour: str, label: str) -> None:
    panel.add_patch(mpl.patches.Rectangle((x + 0.04, y - 0.96), 0.92, 0.92, facecolor=colour, linewidth=0))
    panel.text(x + 0.5, y - 0.5, label, ha="center", va="center")


def gates(text: str, faint: str) -> Figure:
    """Draw the gates of a small GRU that has learned to hold the last marked value."""
    x, held = _marked_values(np.random.default_rng(1), 400)
    model = rgru.GRURegressor(
        hidden_size=6,
        pooling="every",
        max_epochs=150,
        patience=None,
        learning_rate=0.02,
        standardize=False,
        random_state=1,
    ).fit(x, held)
    shown, truth = _marked_values(np.random.default_rng(7), 1)
    r, z = gate_values(model.model_.gru, shown[0])
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    above, middle, below = figure.subplots(3, sharex=True, height_ratios=[2, 1, 1])
    steps = np.arange(len(shown[0]))
    marked = shown[0][:, 1] > 0
    above.plot(steps, shown[0][:, 0], "o", color="#8c959f", markersize=4, label="value")
    above.plot(steps[marked], shown[0][marked, 0], "o", color=ORANGE, label="marked value")
    above.step(
        steps, truth[0], where="post", color=text, linewidth=1, linestyle=":", label="target: the last marked value"
    )
    above.step(steps, model.predict(shown)[0], where="post", color=BLUE, label="prediction")
    above.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=4, frameon=False, fontsize=8)
    above.spines[["top", "right"]].set_visible(False)
    for panel, gate, name in ((middle, z, "update gate z"), (below, r, "reset gate r")):
        image = panel.imshow(gate.T, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        panel.set(ylabel=f"{name}\nunit", yticks=[0, 5])
        for step in steps[marked]:
            panel.plot([step], [-0.75], "v", color=ORANGE, markersize=5, clip_on=False)
    below.set_xlabel("step")
    figure.colorbar(image, ax=[middle, below], label="gate", aspect=15)
    return figure


def _marked_values(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of 40 values, some of them marked, and the last marked value at each step."""
    values = rng.uniform(-1, 1, (count, 40)).astype(np.float32)
    marks = rng.random((count, 40)) < 0.12
    marks[:, 2] = True
    last = np.maximum.accumulate(np.where(marks, np.arange(40), -1), axis=1)
    held = np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), 1), 0)
    return np.stack([values, marks], axis=2).astype(np.float32), held


def gate_values(gru: rgru.GRU, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gates r and z of one sequence (T, I), computed by the equations, each (T, H)."""
    cell, states = gru.layers[0].fwd, gru(x[None])[0][0]
    before = np.vstack([np.zeros_like(states[:1]), states[:-1]])
    r = 1 / (1 + np.exp(-(x @ cell.W_xr.T + before @ cell.U_hr.T + cell.b_r)))
    z = 1 / (1 + np.exp(-(x @ cell.W_xz.T + before @ cell.U_hz.T + cell.b_z)))
    return r, z


def gradients(text: str, faint: str) -> Figure:
    """Draw how much of the gradient of the last state reaches each earlier step."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    panel = figure.subplots()
    x = np.random.default_rng(0).standard_normal((32, 200, 8)) * 0.3
    back = np.arange(200)[::-1]
    for bias, colour in ((0, RED), (-2, ORANGE), (-4, BLUE)):
        gru = rgru.GRU(8, 32, dtype="float64", seed=0)
        gru.layers[0].fwd.b_z = np.full(32, float(bias))
        _, h_n, tape = gru.record(x)
        label = f"GRU, $b_z$ = {bias}".replace("-", "\N{MINUS SIGN}") + (" (the start)" if bias == 0 else "")
        norms = np.linalg.norm(tape.backward(dh_n=np.ones_like(h_n)).x, axis=2).mean(axis=0)
        panel.plot(back, norms, color=colour, label=label)
    panel.set(yscale="log", ylim=(1e-10, 10), xlim=(199, 0), xlabel="steps before the last one")
    panel.set_ylabel("norm of the gradient\nof the last state, by the input")
    panel.grid(color=faint, linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def draw(name: str, picture: Callable[[str, str], Figure]) -> None:
    """Write a picture in both themes."""
    for theme, (text, faint) in THEMES.items():
        colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), text)
        with mpl.rc_context({**colours, "svg.hashsalt": "rgru", "font.size": 9}):
            picture(text, faint).savefig(
                FOLDER / f"{name}-{theme}.svg", transparent=True, metadata={"Date": None, "Creator": None}
            )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, picture in (("ragged", padded_and_ragged), ("gates", gates), ("gradients", gradients)):
        draw(name, picture)
