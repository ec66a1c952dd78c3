"""The GRU layer, its parameters, and what its calls return."""

from rgru.nn._gru import GRU
from rgru.nn._params import Cell, Layer, Params
from rgru.nn._stream import Stream
from rgru.nn._tape import Gradients, Tape
from rgru.nn._trace import CellTrace, LayerTrace, Trace

__all__ = [
    "GRU",
    "Cell",
    "CellTrace",
    "Gradients",
    "Layer",
    "LayerTrace",
    "Params",
    "Stream",
    "Tape",
    "Trace",
]
