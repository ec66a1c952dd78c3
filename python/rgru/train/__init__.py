"""Training: a GRU with a head, the training loop, and its history."""

from rgru.train._loop import History

__all__ = ["History"]
