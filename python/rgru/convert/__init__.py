"""Exact conversion of weights from and to other frameworks: one file each, and their common functions.

rgru stacks the gates' rows in the order r, z, h~, and its z multiplies the candidate. Elsewhere z multiplies the old
state: the conversion negates its rows, since sigma(-a) = 1 - sigma(a), and a change of sign is exact.

Weights are converted to a whole `rgru.GRU`, not to parameters by name. Without biases the weights of one kind of cell
would be accepted by the other without an error, and produce other outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_real
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rgru.nn._gate_order import CellArrays


def gru_of(
    name: str, layers: Sequence[Sequence[CellArrays]], *, reset_after: bool, dropout: float = 0.0, **options: Any
) -> GRU:
    """Make a GRU of converted cells; cells without biases get zeros if other cells have biases.

    Parameters
    ----------
    name : str
        The name of `layers` in errors.
    layers : sequence of sequences of CellArrays
        At least one layer, each with one or two directions.
    reset_after, dropout, **options
        As in `rgru.GRU`.

    Raises
    ------
    ValueError
        If a layer's sizes or type do not match the first one's.
    """
    first = layers[0][0]
    directions, inputs, hidden = len(layers[0]), first["W"].shape[1], first["U"].shape[1]
    dtype = first["W"].dtype
    outputs = hidden * (directions if options.get("merge", "concat") == "concat" else 1)
    for k, cells in enumerate(layers):
        expected = (directions, hidden, outputs if k else inputs, dtype)
        for cell in cells:
            got = (len(cells), cell["U"].shape[1], cell["W"].shape[1], cell["W"].dtype)
            if got != expected:
                sizes = "{} direction(s), {} units, {} features, {}"
                raise ValueError(f"{name}[{k}]: expected {sizes.format(*expected)}, got {sizes.format(*got)}")
    bias = any("b" in cell for cells in layers for cell in cells)
    zeros = {"b": np.zeros(3 * hidden, dtype)} if bias else {}
    if bias and reset_after:
        zeros["b_hh"] = np.zeros(hidden, dtype)
    config = {
        "input_size": inputs,
        "hidden_size": hidden,
        "num_layers": len(layers),
        "bidirectional": directions == 2,
        "reset_after": reset_after,
        "bias": bias,
        "dropout": dropout,
        "dtype": dtype.name,
        **options,
    }
    names = ("rev",) if options.get("reverse") else ("fwd", "rev")
    params = {
        f"layers.{k}.{direction}.{tensor}": array
        for k, cells in enumerate(layers)
        for direction, cell in zip(names, cells, strict=False)
        for tensor, array in (zeros | cell).items()
    }
    return GRU._from_saved(config, params)


def as_weights(name: str, value: object, axes: str, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Convert `value` to an array with dimensions `axes`, ``"(I, 3H)"``, of `dtype` or else float32 or float64.

    Raises
    ------
    TypeError, ValueError
        If the type or the number of dimensions is wrong.
    """
    array = as_real(name, value, dtype, axes.count(",") + (not axes.endswith(",)")), axes)
    if array.dtype.itemsize not in (4, 8):
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype.name}; convert it with astype")
    return array


def widened(array: Any) -> Any:
    """Return an array of float16 or bfloat16 as float32, which has all their numbers, and others as they are."""
    is_half = getattr(getattr(array, "dtype", None), "name", "") in ("float16", "bfloat16")
    return array.astype(np.float32) if is_half else array


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...], axes: str) -> None:
    """Check an array's shape.

    Raises
    ------
    ValueError
        If it differs; the message includes `axes`, the meaning of the dimensions.
    """
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {axes} = {shape}, got {array.shape}")


def check_setting(name: str, value: object, expected: object, why: str) -> None:
    """Check that a setting has the one value that rgru can represent.

    Raises
    ------
    ValueError
        If it has another.
    """
    if value != expected:
        raise ValueError(f"{name}: expected {expected!r}, got {value!r}: {why}")


def as_parts(name: str, value: Any, parts: str) -> list[list[Any]]:
    """Convert `value`, a sequence of layers, each a sequence of parts such as ``"(weights, config)"``, to lists.

    Raises
    ------
    TypeError
        If it is not a sequence, or a layer does not consist of these parts.
    ValueError
        If there is no layer.
    """
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name}: expected a list of {parts}, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{name}: expected at least one {parts}, got none")
    for k, one in enumerate(value):
        if not isinstance(one, (list, tuple)) or len(one) != parts.count(",") + 1:
            count = f" of {len(one)}" if isinstance(one, (list, tuple)) else ""
            raise TypeError(f"{name}[{k}]: expected {parts}, got {type(one).__name__}{count}")
    return [list(one) for one in value]


def __getattr__(name: str) -> object:
    """Import a framework's module at first use, so that ``rgru.convert.keras`` works after ``import rgru``."""
    if name not in ("burn", "coreml", "equinox", "flax", "haste", "keras", "matlab", "onednn", "onnx", "torch"):
        raise AttributeError(f"module 'rgru.convert' has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"rgru.convert.{name}")
