"""The gates, candidates and states of every step of a run, to look inside a GRU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rgru._data.ragged import Ragged
from rgru.nn._merge import merge

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from numpy.typing import NDArray

    from rgru.nn._settings import Settings

    Values: TypeAlias = NDArray[Any] | Ragged


@dataclass(frozen=True, repr=False)
class CellTrace:
    """What a cell, one direction of a layer, computed in every step.

    Parameters
    ----------
    r, z, candidate, h : numpy.ndarray, shape (N, T, H), or Ragged
        Reset gate, update gate, candidate state and new state, in the form of the input; 0 at steps that were not run.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> cell = rgru.GRU(3, 8).trace(np.zeros((2, 5, 3), np.float32)).layers[0].fwd
    >>> cell.z.shape
    (2, 5, 8)
    """

    r: Values
    z: Values
    candidate: Values
    h: Values

    def __repr__(self) -> str:
        shape = self.r.values.shape if isinstance(self.r, Ragged) else self.r.shape
        return f"CellTrace(r, z, candidate, h of shape {shape})"


@dataclass(frozen=True, repr=False)
class LayerTrace:
    """What a layer computed in every step.

    Parameters
    ----------
    y : numpy.ndarray, shape (N, T, K), or Ragged
        Its outputs, which the next layer read.
    fwd, rev : CellTrace or None
        Its cells; None for a direction that the GRU does not have.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> trace = rgru.GRU(3, 8, num_layers=2).trace(np.zeros((2, 5, 3), np.float32))
    >>> [layer.y.shape for layer in trace.layers]
    [(2, 5, 8), (2, 5, 8)]
    """

    y: Values
    fwd: CellTrace | None
    rev: CellTrace | None

    def __repr__(self) -> str:
        return f"LayerTrace(fwd={self.fwd!r}, rev={self.rev!r})"


@dataclass(frozen=True, repr=False)
class Trace:
    """What a GRU computed in every step; made by `rgru.GRU.trace`.

    Parameters
    ----------
    layers : tuple of LayerTrace
        The layers, from the input on.
    h_n : numpy.ndarray, shape (L*D, N, H)
        As of a plain call.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> trace = rgru.GRU(3, 8).trace(np.zeros((2, 5, 3), np.float32))
    >>> bool((trace.layers[0].fwd.z > 0).all())
    True
    """

    layers: tuple[LayerTrace, ...]
    h_n: NDArray[Any]

    def __repr__(self) -> str:
        return f"Trace(layers={self.layers!r})"


def layer_traces(
    settings: Settings,
    records: list[tuple[list[Any], Any | None]],
    y: Any,
    in_form: Callable[[Any], Values],
    xp: Any,
) -> tuple[LayerTrace, ...]:
    """Arrange the records of a tape.

    Parameters
    ----------
    settings : Settings
    records : list of (cells, states)
        Of each layer, for R steps: of each direction r, z and the candidate, (R, 3H) or more, and the states
        (R, D*H), None for the last layer if they are its outputs.
    y : array, shape (R, K)
        The outputs of the last layer.
    in_form : callable
        Converts an array (R, F) to the form of the input.
    xp : module
        That of the arrays.
    """
    hidden = settings.hidden_size
    layers = []
    for cells, given in records:
        states = y if given is None else given
        parts = [states[:, d * hidden : (d + 1) * hidden] for d in range(len(cells))]
        traces: list[CellTrace | None] = []
        for cell, part in zip(cells, parts, strict=True):
            r, z, candidate = (in_form(cell[:, k * hidden : (k + 1) * hidden]) for k in range(3))
            traces.append(CellTrace(r, z, candidate, in_form(part)))
        fwd, rev = (None, traces[0]) if settings.reverse else (*traces, None)[:2]
        merged = merge(settings, parts, xp).astype(states.dtype, copy=False)  # CuPy may promote bfloat16
        layers.append(LayerTrace(in_form(merged), fwd, rev))
    return tuple(layers)
