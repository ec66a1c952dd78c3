"""How a training goes, on stderr: a bar where that is a terminal, else a line an epoch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru.train._loop import History


class Progress:
    """Reports epochs; the bar is tqdm's, and where that is not installed lines take its place.

    Parameters
    ----------
    epochs : int
        How many there are at most.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._bar = _bar(epochs)

    def report(self, history: History) -> None:
        """Report the last epoch of `history`."""
        told = {"training loss": f"{history.train_loss[-1]:.4g}"}
        if history.validation_loss:
            told["validation loss"] = f"{history.validation_loss[-1]:.4g}"
            told["score"] = f"{history.validation_score[-1]:.4f}"
        text = ", ".join(f"{name} {value}" for name, value in told.items())
        text += f", {history.sequences_per_second[-1]:,.0f} sequences/s"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif sys.stderr is not None:
            print(f"epoch {len(history.train_loss)}/{self._epochs}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
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
