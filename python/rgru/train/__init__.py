"""Training: a GRU with a head, the training loop, and its history."""

from rgru.train._history import History

__all__ = ["History"]
