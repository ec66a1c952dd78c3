"""The GRU layer, its parameters, and what its calls return."""

from rgru.nn._gru import GRU
from rgru.nn._params import Cell, Layer, Params
from rgru.nn._stream import Stream
from rgru.nn._tape import Gradients, Tape

__all__ = ["GRU", "Cell", "Gradients", "Layer", "Params", "Stream", "Tape"]
