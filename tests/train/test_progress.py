"""The reports of `verbose=True`, at a terminal and in a log."""

from __future__ import annotations

import io
import re
import sys

import pytest

import rgru
from estimator_cases import labels, sequences
from rgru.train._progress import Progress

X = sequences()


def train(**options):
    return rgru.GRUClassifier(hidden_size=3, max_epochs=4, random_state=0, verbose=True, **options).fit(X, labels(X))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("validated", [False, True])
def test_one_line_per_epoch_where_stderr_is_no_terminal(capsys, validated):
    """A notebook, a log or a CI job is no terminal, for example."""
    model = train(early_stopping=validated, validation_fraction=0.25)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 4
    history = model.history_
    for i, line in enumerate(lines):
        told = f"epoch {i + 1}/4: training loss {history.train_loss[i]:.4g}, "
        if validated:
            told += f"validation loss {history.validation_loss[i]:.4g}, score {history.validation_score[i]:.4f}, "
        assert re.fullmatch(re.escape(told) + r"[\d,]+ sequences/s", line)


def test_lines_need_no_tqdm(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train()
    assert len(capsys.readouterr().err.splitlines()) == 4
    monkeypatch.setattr(sys, "stderr", Terminal())
    train()
    assert len(sys.stderr.getvalue().splitlines()) == 4


def test_a_bar_at_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    reports = Progress(2)
    history = rgru.GRUClassifier(hidden_size=3, max_epochs=1).fit(X, labels(X)).history_
    reports.report(history)
    reports.report(history)
    reports.close()
    assert "training: " in sys.stderr.getvalue()
    assert "epoch 1/2" not in sys.stderr.getvalue()


def test_nothing_without_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as on Windows without a console
    train()


def test_nothing_without_verbose(capsys):
    rgru.GRUClassifier(hidden_size=3, max_epochs=1).fit(X, labels(X))
    assert capsys.readouterr().err == ""
