"""Parameters by name: read-only views of the flat array of a GRU, and validated assignment into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from rgru._validation.arrays import as_real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Layout: TypeAlias = "dict[str, tuple[tuple[int, ...], int]]"
"""Name to shape and start in the flat array."""


def named(flat: NDArray[Any], layout: Layout) -> dict[str, NDArray[Any]]:
    """Return views of `flat` (P,) by name, each in its own shape."""
    return {name: _view(flat, *place) for name, place in layout.items()}


def _view(flat: NDArray[Any], shape: tuple[int, ...], start: int) -> NDArray[Any]:
    size = 1
    for extent in shape:
        size *= extent
    return np.reshape(flat[start : start + size], shape)


def _read_only(view: NDArray[Any]) -> NDArray[Any]:
    view.flags.writeable = False
    return view


class Params(Mapping[str, "NDArray[Any]"]):
    """The parameters of a GRU by name: ``layers.{k}.{fwd|rev}.{W|U|b|b_hh|g|g_hh|h0}``.

    Reading an item returns a read-only view that follows later changes. Assigning validates an array and copies its
    values: ``gru.params["layers.0.fwd.b"] = b``.

    ``W`` is (3H, I), ``U`` (3H, H) and ``b`` (3H,), with the rows of the gates in the order r, z, h~; ``b_hh`` (H,) is
    the candidate's recurrent bias, which only a reset-after GRU has, and not with ``layer_norm="sum"``. A GRU without
    bias has neither ``b`` nor ``b_hh``. ``g`` and ``g_hh`` (3H,) are the gains of layer normalisation, which has
    ``g_hh`` only in its separate form. ``h0`` (H,) is the initial state of a GRU with ``learned_h0=True``. A GRU with
    ``reverse=True`` has only ``rev``. ``embedding`` (V, E) has the rows of ids; W of the first layer is then
    (3H, E + I - 1).

    Parameters
    ----------
    flat : numpy.ndarray, shape (P,)
        All parameters of the GRU.
    layout : dict
        Shape of each parameter and its start in `flat`, by name.
    changed : callable
        Called after each assignment.
    options : dict
        The options of the GRU that determine what its parameters compute.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> gru = rgru.GRU(3, 8)
    >>> list(gru.params)
    ['layers.0.fwd.W', 'layers.0.fwd.U', 'layers.0.fwd.b']
    >>> gru.params["layers.0.fwd.b"] = np.ones(24, np.float32)
    >>> gru.params["layers.0.fwd.b"].shape
    (24,)
    """

    __slots__ = ("_changed", "_flat", "_layout", "_options")

    def __init__(
        self, flat: NDArray[Any], layout: Layout, changed: Callable[[], None], options: Mapping[str, object]
    ) -> None:
        self._flat, self._layout, self._changed, self._options = flat, layout, changed, options

    @property
    def flat(self) -> NDArray[Any]:
        """All parameters concatenated, shape (P,), as a read-only view."""
        return _read_only(self._flat[:])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return _read_only(_view(self._flat, *self._layout[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout)

    def __len__(self) -> int:
        return len(self._layout)

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        self.update({name: value})

    def update(self, arrays: Mapping[str, ArrayLike]) -> None:
        """Assign several parameters, or none of them if one is invalid.

        Parameters
        ----------
        arrays : mapping of str to array_like
            New values by name, each in the shape of its parameter and of a type that converts to the GRU's without
            changing a value. Or all `params` of a GRU with the same parameters and options.

        Raises
        ------
        KeyError
            If there is no parameter of a name.
        ValueError
            If `arrays` are the `params` of a GRU with other options, whose numbers mean something else here.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> gru = rgru.GRU(3, 8)
        >>> gru.params.update({"layers.0.fwd.b": np.ones(24, np.float32), "layers.0.fwd.U": np.eye(24, 8, dtype="f4")})
        >>> float(gru.layers[0].fwd.b_r[0])
        1.0
        """
        if isinstance(arrays, Params):
            self._check_meaning(arrays)
        checked = []
        for name, value in arrays.items():
            if name not in self._layout:
                raise KeyError(f"{name}: expected one of {', '.join(self._layout)}")
            target = _view(self._flat, *self._layout[name])
            checked.append((target, self._fitting(name, value, target.shape)))
        for target, array in checked:
            target[...] = array
        self._changed()

    def _check_meaning(self, other: Params) -> None:
        """Refuse the parameters of a GRU that computes another function of them."""
        ours, theirs = self._options, other._options
        differ = [name for name in ours if ours[name] != theirs[name]]
        if differ:
            expected, got = (", ".join(f"{name}={one[name]!r}" for name in differ) for one in (ours, theirs))
            raise ValueError(f"arrays: expected parameters of a GRU with {expected}, got those of one with {got}")

    def _fitting(self, name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
        array = as_real(name, value, self._flat.dtype)
        if array.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
        # Views of these same parameters, as in a swap, must be read before any is overwritten.
        return array.copy() if np.may_share_memory(array, self._flat) else array

    def _assign_rows(self, name: str, label: str, rows: slice, value: ArrayLike) -> None:
        target = _view(self._flat, *self._layout[name])[rows]
        target[...] = self._fitting(label, value, target.shape)
        self._changed()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {shape}" for name, (shape, _) in self._layout.items())
        return f"Params({shapes})"


class _Rows:
    """A descriptor for one tensor of a cell, or for the rows of one of its gates (0: r, 1: z, 2: h~)."""

    def __init__(self, tensor: str, gate: int | None = None) -> None:
        self._tensor, self._gate = tensor, gate

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, cell: None, owner: type) -> _Rows: ...
    @overload
    def __get__(self, cell: Cell, owner: type) -> NDArray[Any]: ...
    def __get__(self, cell: Cell | None, owner: type) -> _Rows | NDArray[Any]:
        if cell is None:
            return self
        whole = cell._params[self._find(cell)]
        return whole[self._rows(len(whole))]

    def __set__(self, cell: Cell, value: ArrayLike) -> None:
        name = self._find(cell)
        rows = self._rows(cell._params._layout[name][0][0])
        cell._params._assign_rows(name, f"{cell._prefix}.{self._name}", rows, value)

    def _find(self, cell: Cell) -> str:
        name = f"{cell._prefix}.{self._tensor}"
        if name not in cell._params:
            missing = {
                "b_hh": "only a reset-after GRU with bias, and without layer_norm='sum', has it",
                "g": "only a GRU with layer_norm has it",
                "g_hh": "only a GRU with layer_norm='separate' has it",
                "h0": "only a GRU with learned_h0=True has it",
            }
            why = missing.get(self._tensor, "this GRU has no bias")
            raise AttributeError(f"{cell._prefix} has no {self._name}: {why}")
        return name

    def _rows(self, count: int) -> slice:
        if self._gate is None:
            return slice(None)
        return slice(self._gate * count // 3, (self._gate + 1) * count // 3)


class Cell:
    """The parameters of one layer in one direction, by the names in the equations.

    Reading an attribute returns a read-only view, assigning to it copies values. Whole tensors: ``W`` (3H, I),
    ``U`` (3H, H), ``b`` (3H,), ``b_hh`` (H,), ``g`` and ``g_hh`` (3H,), ``h0`` (H,). By gate: ``W_xr W_xz W_xh``
    (H, I), ``U_hr U_hz U_hh`` (H, H), ``b_r b_z b_h`` (H,). ::

        r_t  = sigma(W_xr x_t + U_hr h_{t-1} + b_r)
        z_t  = sigma(W_xz x_t + U_hz h_{t-1} + b_z)
        h~_t = tanh(W_xh x_t + U_hh (r_t * h_{t-1}) + b_h)              reset-before
        h~_t = tanh(W_xh x_t + b_h + r_t * (U_hh h_{t-1} + b_hh))       reset-after
        h_t  = (1 - z_t) * h_{t-1} + z_t * h~_t

    Parameters
    ----------
    params : Params
        The parameters of the GRU.
    prefix : str
        The start of this cell's names in `params`, such as ``"layers.0.fwd"``.

    Examples
    --------
    >>> import rgru
    >>> cell = rgru.GRU(3, 8).layers[0].fwd
    >>> cell.W.shape, cell.W_xr.shape, cell.b_z.shape
    ((24, 3), (8, 3), (8,))
    >>> cell.b_z = [-1.0] * 8  # a bias towards keeping the state
    """

    __slots__ = ("_params", "_prefix")

    W, W_xr, W_xz, W_xh = _Rows("W"), _Rows("W", 0), _Rows("W", 1), _Rows("W", 2)
    U, U_hr, U_hz, U_hh = _Rows("U"), _Rows("U", 0), _Rows("U", 1), _Rows("U", 2)
    b, b_r, b_z, b_h = _Rows("b"), _Rows("b", 0), _Rows("b", 1), _Rows("b", 2)
    b_hh, h0 = _Rows("b_hh"), _Rows("h0")
    g, g_hh = _Rows("g"), _Rows("g_hh")

    def __init__(self, params: Params, prefix: str) -> None:
        self._params, self._prefix = params, prefix

    def __repr__(self) -> str:
        return f"Cell({self._prefix})"


class Layer:
    """One layer of a GRU: its cells in the directions ``fwd`` and ``rev``, one of them or both.

    Parameters
    ----------
    params : Params
        The parameters of the GRU.
    k : int
        The number of the layer, from 0.

    Examples
    --------
    >>> import rgru
    >>> layer = rgru.GRU(3, 8, bidirectional=True).layers[0]
    >>> layer.fwd, layer.rev
    (Cell(layers.0.fwd), Cell(layers.0.rev))
    """

    __slots__ = ("_params", "_prefix")

    def __init__(self, params: Params, k: int) -> None:
        self._params, self._prefix = params, f"layers.{k}"

    @property
    def fwd(self) -> Cell:
        """The cell that runs from the first step to the last."""
        return self._cell("fwd", "this GRU has reverse=True")

    @property
    def rev(self) -> Cell:
        """The cell that runs from each sequence's last step to its first."""
        return self._cell("rev", "this GRU is not bidirectional")

    def _cell(self, direction: str, why: str) -> Cell:
        if f"{self._prefix}.{direction}.W" not in self._params:
            raise AttributeError(f"{self._prefix} has no {direction}: {why}")
        return Cell(self._params, f"{self._prefix}.{direction}")

    def __repr__(self) -> str:
        return f"Layer({self._prefix})"
