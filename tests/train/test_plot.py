"""The plots of a training: their contents for every history, and their axes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import rgru
from rgru import plot
from rgru.train._history import History


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
def ax():
    return Figure().subplots()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("epochs", [1, 2, 15, 300])
def test_losses_and_scores(epochs, ax):
    assert plot.training_curve(history(epochs), ax=ax) is ax
    kept = history(epochs).validation_loss[-1]
    assert legend(ax) == ["training", "validation", f"kept: {kept:.3g} (epoch {epochs})"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert len(ax.lines[0].get_xdata()) == epochs

    scores = Figure().subplots()
    assert plot.score_curve(history(epochs), name="accuracy", ax=scores) is scores
    assert (scores.get_xlabel(), scores.get_ylabel()) == ("epoch", "accuracy")
    assert scores.lines[0].get_ydata()[-1] == history(epochs).validation_score[-1]


def test_without_validation_there_are_only_training_losses(ax):
    assert legend(plot.training_curve(history(20, validated=False), ax=ax)) == ["training"]
    with pytest.raises(ValueError, match=r"^history: expected one of a training with validation"):
        plot.score_curve(history(20, validated=False), ax=ax)


@pytest.mark.parametrize(("last", "scale"), [(1.0, "linear"), (0.01, "log"), (1e-9, "log"), (0.0, "linear")])
def test_losses_over_a_wide_range_are_logarithmic(last, scale, ax):
    curve = history(30)
    curve.train_loss = np.linspace(2.0, last, 30).tolist()
    curve.validation_loss = curve.train_loss
    assert plot.training_curve(curve, ax=ax).get_yscale() == scale


@pytest.mark.parametrize("draw", [plot.training_curve, plot.score_curve])
def test_the_kept_epoch_is_marked(draw, ax):
    curve = history(30)
    curve.best_epoch = 11
    draw(curve, ax=ax)
    assert any(line.get_xdata()[0] == 12 and len(line.get_xdata()) == 1 for line in ax.lines)


@pytest.mark.parametrize("draw", [plot.training_curve, plot.score_curve])
def test_axes_are_those_of_pyplot_by_default(draw):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    ax = draw(history(3))
    assert ax.figure is pyplot.gcf()
    pyplot.close(ax.figure)


def test_pyplot_is_not_used_for_given_axes(ax):
    sys.modules.pop("matplotlib.pyplot", None)
    plot.training_curve(history(3), ax=ax)
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("draw", [plot.training_curve, plot.score_curve])
def test_an_empty_history_is_refused(draw):
    with pytest.raises(ValueError, match=r"^history: expected at least one epoch, got none"):
        draw(History())


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[cli\]' in a clone of rgru"):
        plot.training_curve(history(3))


@pytest.mark.parametrize("curve", [plot.training_curve, plot.score_curve])
def test_an_estimator_in_the_place_of_its_history(curve):
    with pytest.raises(TypeError, match=r"^history: expected that of an estimator, its history_, got GRUClassifier"):
        curve(rgru.GRUClassifier())
