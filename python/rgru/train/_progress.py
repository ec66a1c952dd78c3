"""Progress reports of a training on stderr: a bar if that is a terminal, else one line per epoch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru.train._history import History


class Progress:
    """Reports of epochs, as a bar of tqdm; if that is not installed, as lines.

    Parameters
    ----------
    epochs : int
        The maximum number of epochs.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._unread = False
        self._bar = _bar(epochs)

    def report(self, history: History) -> None:
        """Report the last epoch of `history`."""
        figures = {"training loss": f"{history.train_loss[-1]:.4g}"}
        if history.validation_loss:
            figures["validation loss"] = f"{history.validation_loss[-1]:.4g}"
            figures["score"] = f"{history.validation_score[-1]:.4f}"
        text = ", ".join(f"{name} {value}" for name, value in figures.items())
        text += f", {history.sequences_per_second[-1]:,.0f} sequences/s"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif sys.stderr is not None and not self._unread:
            try:
                print(f"epoch {len(history.train_loss)}/{self._epochs}: {text}", file=sys.stderr, flush=True)
            except OSError:  # the reader of a pipe or the terminal is gone; the training is worth more than its report
                self._unread = True

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


def _bar(epochs: int) -> Any:
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=epochs, desc="training", unit="epoch", leave=False)
