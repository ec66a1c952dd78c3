"""Learning: a GRU with a head, the training loop, and what it records."""

from rgru.train._history import History

__all__ = ["History"]
