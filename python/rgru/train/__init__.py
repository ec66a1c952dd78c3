"""Learning: a GRU with a head, the training loop, and what it records."""

from rgru.train._loop import History

__all__ = ["History"]
