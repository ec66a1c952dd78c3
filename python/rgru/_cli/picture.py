"""The training curve as a file."""

from __future__ import annotations

from pathlib import Path

from rgru._cli.errors import explained
from rgru._files.atomic_write import whole_file
from rgru._optional_imports import needed
from rgru.estimators import GRUClassifier, GRURegressor

PICTURES = ("", ".png", ".jpg", ".jpeg", ".svg", ".pdf")
"""The endings of pictures."""


def save_plot(estimator: GRUClassifier | GRURegressor, path: str, title: str = "") -> None:
    """Write a plot of the training's losses and, if there are any, of the validation scores next to it.

    Raises
    ------
    CommandError
        If it cannot be written.
    """
    with explained(path):
        from rgru.plot import score_curve, training_curve

        history = estimator.history_
        validated = bool(history.validation_loss)
        # Not pyplot, which would keep the figure, and choose a backend for windows.
        new_figure = needed("matplotlib.figure", "cli").Figure
        figure = new_figure(figsize=(9.6 if validated else 5.4, 4.0), dpi=150, layout="constrained")
        panels = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
        if title:
            figure.suptitle(title, fontsize=12)
        training_curve(history, ax=panels[0])
        if validated:
            score_curve(history, name="accuracy" if isinstance(estimator, GRUClassifier) else "R²", ax=panels[1])
        with whole_file(path) as draft:
            figure.savefig(draft, format=Path(path).suffix.lower().removeprefix(".") or "png")
