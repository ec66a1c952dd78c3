"""Progress reports of a training on stderr: a bar if that is a terminal, else one line per epoch."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._unread, self._bar = False, None
        with self._while_read():
            self._bar = _bar(epochs)

    def report(self, history: History) -> None:
        """Report the last epoch of `history`."""
        figures = {"training loss": f"{history.train_loss[-1]:.4g}"}
        if history.validation_loss:
            figures["validation loss"] = f"{history.validation_loss[-1]:.4g}"
            figures["score"] = f"{history.validation_score[-1]:.4f}"
        text = ", ".join(f"{name} {value}" for name, value in figures.items())
        text += f", {history.sequences_per_second[-1]:,.0f} sequences/s"
        if self._unread or sys.stderr is None:
            return
        with self._while_read():
            if self._bar is None:
                print(f"epoch {len(history.train_loss)}/{self._epochs}: {text}", file=sys.stderr, flush=True)
            else:
                self._bar.set_postfix_str(text, refresh=False)
                self._bar.update()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            with self._while_read():
                self._bar.close()

    @contextmanager
    def _while_read(self) -> Iterator[None]:
        """Note in a block if the reader of a pipe or the terminal is gone: the training is worth more than a report."""
        try:
            yield
        except OSError:
            self._unread = True


def _bar(epochs: int) -> Any:
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=epochs, desc="training", unit="epoch", leave=False)
