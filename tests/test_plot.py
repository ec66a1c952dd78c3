"""The training curve: a picture for every history, and what is in it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from rgru import plot
from rgru.training import History


def history(epochs, *, validated=True, first=2.0, last=0.01):
    losses = np.geomspace(first, last, epochs).tolist()
    return History(
        train_loss=losses,
        validation_loss=[1.5 * loss for loss in losses] if validated else [],
        validation_score=np.linspace(0.1, 0.9, epochs).tolist() if validated else [],
        sequences_per_second=[1.0] * epochs,
        best_epoch=epochs - 1,
    )


@pytest.fixture
def figure(monkeypatch):
    """Catch the figure that is drawn."""
    from matplotlib.figure import Figure

    caught = []

    def savefig(self, *arguments, **options):
        caught.append(self)
        return original(self, *arguments, **options)

    original = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", savefig)
    return caught


def size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("epochs", [1, 2, 15, 300])
def test_losses_and_scores(epochs, figure):
    png = plot.training_curve(history(epochs), title="a title", score_name="accuracy")
    assert size(png) == (1440, 600)
    losses, scores = figure[0].axes
    kept = history(epochs).validation_loss[-1]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [
        "training",
        "validation",
        f"kept: {kept:.3g} (epoch {epochs})",
    ]
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "loss")
    assert scores.get_ylabel() == "accuracy"
    assert len(losses.lines[0].get_xdata()) == epochs
    assert figure[0].get_suptitle() == "a title"


def test_without_validation_there_is_one_panel(figure):
    assert size(plot.training_curve(history(20, validated=False))) == (810, 600)
    assert len(figure[0].axes) == 1


@pytest.mark.parametrize(("last", "scale"), [(1.0, "linear"), (0.01, "log"), (1e-9, "log"), (0.0, "linear")])
def test_losses_over_a_wide_range_are_logarithmic(last, scale, figure):
    curve = history(30)
    curve.train_loss = np.linspace(2.0, last, 30).tolist()
    curve.validation_loss = curve.train_loss
    plot.training_curve(curve)
    assert figure[0].axes[0].get_yscale() == scale


def test_the_kept_epoch_is_marked(figure):
    curve = history(30)
    curve.best_epoch = 11
    plot.training_curve(curve)
    for panel in figure[0].axes:
        assert any(line.get_xdata()[0] == 12 and len(line.get_xdata()) == 1 for line in panel.lines)


def test_pyplot_is_left_alone():
    sys.modules.pop("matplotlib.pyplot", None)
    plot.training_curve(history(3))
    assert "matplotlib.pyplot" not in sys.modules


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match=r"^history: expected at least one epoch, got none"):
        plot.training_curve(History())


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'rgru\[cli\]'"):
        plot.training_curve(history(3))
