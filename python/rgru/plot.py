"""Pictures: the training curve. Needs matplotlib, which is loaded at first use."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru.training import History

_TRAIN, _VALIDATION, _KEPT, _GREY = "#4477aa", "#cc6677", "#222222", "#777777"


def training_curve(history: History, *, title: str = "", score_name: str = "score") -> bytes:
    """Draw the losses of a training, and the validation score if there is one.

    Parameters
    ----------
    history : rgru.training.History
        Of at least one epoch.
    title : str, optional
    score_name : str, default "score"
        What the score is: "accuracy", "R²".

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    ValueError
        If the history has no epoch.
    ImportError
        If matplotlib is not installed.
    """
    if not history.train_loss:
        raise ValueError("history: expected at least one epoch, got none")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'rgru[cli]'") from error

    validated = bool(history.validation_loss)
    # Not pyplot: it would keep the figure, and choose a window of the user's screen.
    figure = Figure(figsize=(9.6 if validated else 5.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    if title:
        figure.suptitle(title, fontsize=12)
    _draw_losses(panels[0], history)
    if validated:
        _draw_scores(panels[1], history, score_name)
    for panel in panels:
        _tidy(panel, len(history.train_loss))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_losses(panel: Any, history: History) -> None:
    epochs = range(1, len(history.train_loss) + 1)
    panel.plot(epochs, history.train_loss, color=_TRAIN, label="training", **_marks(epochs))
    if history.validation_loss:
        panel.plot(epochs, history.validation_loss, color=_VALIDATION, label="validation", **_marks(epochs))
        _mark_kept(panel, history.best_epoch, history.validation_loss)
    losses = history.train_loss + history.validation_loss
    if min(losses) > 0 and max(losses) / min(losses) > 10:
        _log_scale(panel, (1.0, 2.0, 5.0) if max(losses) / min(losses) < 1000 else (1.0,))
    panel.set_ylabel("loss")
    panel.legend(frameon=False)


def _draw_scores(panel: Any, history: History, score_name: str) -> None:
    scores = history.validation_score
    epochs = range(1, len(scores) + 1)
    panel.plot(epochs, scores, color=_VALIDATION, label="validation", **_marks(epochs))
    _mark_kept(panel, history.best_epoch, scores)
    panel.set_ylabel(score_name)
    panel.legend(frameon=False, loc="lower right")


def _mark_kept(panel: Any, epoch: int, values: list[float]) -> None:
    """A ring around the epoch whose weights were kept; its value stands in the legend, where nothing is in its way."""
    label = f"kept: {values[epoch]:.3g} (epoch {epoch + 1})"
    panel.plot([epoch + 1], [values[epoch]], "o", color=_KEPT, label=label, markersize=9, fillstyle="none")


def _marks(epochs: range) -> dict[str, Any]:
    """A few epochs are points on a line; many are a line."""
    return {"linewidth": 1.6, "marker": "o" if len(epochs) <= 15 else None, "markersize": 3.5}


def _log_scale(panel: Any, labelled: tuple[float, ...]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=labelled))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _tidy(panel: Any, epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_xlabel("epoch")
    panel.set_xlim(0.5 if epochs == 1 else 1 - 0.02 * epochs, epochs + 0.5 if epochs == 1 else epochs * 1.02)
    panel.margins(y=0.08)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.grid(color=_GREY, alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(color=_GREY)
