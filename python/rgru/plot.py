"""Plots of a training. They need matplotlib, which is imported at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._optional_imports import needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rgru.train._history import History

_TRAIN, _VALIDATION, _KEPT, _GREY = "#4477aa", "#cc6677", "#222222", "#777777"


def training_curve(history: History, *, ax: Axes | None = None) -> Axes:
    """Plot the losses of a training, and mark the epoch whose weights were kept.

    Parameters
    ----------
    history : rgru.train.History
        The history of at least one epoch: ``estimator.history_``.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure of pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        The axes with the plot.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, rgru
    >>> from matplotlib.figure import Figure
    >>> X = np.random.default_rng(0).standard_normal((40, 5, 2))
    >>> model = rgru.GRURegressor(max_epochs=3, random_state=0).fit(X, X[:, :, 0].sum(axis=1))
    >>> ax = rgru.plot.training_curve(model.history_, ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('epoch', 'loss')
    """
    ax = _axes(history, ax)
    epochs = range(1, len(history.train_loss) + 1)
    ax.plot(epochs, history.train_loss, color=_TRAIN, label="training", **_marks(epochs))
    if history.validation_loss:
        ax.plot(epochs, history.validation_loss, color=_VALIDATION, label="validation", **_marks(epochs))
        _mark_kept(ax, history.best_epoch, history.validation_loss)
    losses = history.train_loss + history.validation_loss
    if min(losses) > 0 and max(losses) / min(losses) > 10:
        _log_scale(ax, (1.0, 2.0, 5.0) if max(losses) / min(losses) < 1000 else (1.0,))
    ax.set_ylabel("loss")
    ax.legend(frameon=False)
    _tidy(ax, len(epochs))
    return ax


def score_curve(history: History, *, name: str = "score", ax: Axes | None = None) -> Axes:
    """Plot the validation scores of a training, and mark the epoch whose weights were kept.

    Parameters
    ----------
    history : rgru.train.History
        The history of at least one epoch, with validation: ``estimator.history_``.
    name : str, default "score"
        The name of the score, for the axis: "accuracy", "R²".
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure of pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        The axes with the plot.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, rgru
    >>> from matplotlib.figure import Figure
    >>> X = np.random.default_rng(0).standard_normal((40, 5, 2))
    >>> model = rgru.GRURegressor(max_epochs=3, early_stopping=True, random_state=0).fit(X, X[:, :, 0].sum(axis=1))
    >>> ax = rgru.plot.score_curve(model.history_, name="R²", ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('epoch', 'R²')
    """
    _check_history(history)
    if history.train_loss and not history.validation_score:
        raise ValueError("history: expected one of a training with validation, got none")
    ax = _axes(history, ax)
    epochs = range(1, len(history.validation_score) + 1)
    ax.plot(epochs, history.validation_score, color=_VALIDATION, label="validation", **_marks(epochs))
    _mark_kept(ax, history.best_epoch, history.validation_score)
    ax.set_ylabel(name)
    ax.legend(frameon=False, loc="lower right")
    _tidy(ax, len(epochs))
    return ax


def _axes(history: History, ax: Axes | None) -> Axes:
    _check_history(history)
    if not history.train_loss:
        raise ValueError("history: expected at least one epoch, got none")
    return needed("matplotlib.pyplot", "cli").subplots(layout="constrained")[1] if ax is None else ax


def _check_history(history: object) -> None:
    if not hasattr(history, "train_loss"):
        raise TypeError(f"history: expected that of an estimator, its history_, got {type(history).__name__}")


def _mark_kept(panel: Any, epoch: int, values: list[float]) -> None:
    """Draw a ring around the epoch whose weights were kept, with its value in the legend, where nothing overlaps it."""
    label = f"kept: {values[epoch]:.3g} (epoch {epoch + 1})"
    panel.plot([epoch + 1], [values[epoch]], "o", color=_KEPT, label=label, markersize=9, fillstyle="none")


def _marks(epochs: range) -> dict[str, Any]:
    """Return the style of a curve: with markers if it has few epochs."""
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
