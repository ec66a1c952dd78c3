"""Whether two models are the same function, and where they part."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._load import load
from rgru._optional_imports import needed
from rgru._validation.scalars import is_number
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

TOLERANCES = {2: 1e-2, 4: 1e-5, 8: 1e-11}
"""By the bytes of a number: what another order of sums changes over many steps."""


@dataclass(frozen=True)
class Comparison:
    """The outputs of two models, compared; true if they agree.

    Attributes
    ----------
    tolerance : float
        The largest difference that counts as rounding.
    largest : float
        The largest difference; infinite where one output is NaN, or both are infinite with different signs.
    at : tuple of int
        Where it is: sequence, step, feature.
    values : tuple of float
        The outputs of both models there.
    first : tuple of int or None
        The first difference beyond the tolerance, by step, then sequence and feature, as a place like `at`.
    """

    tolerance: float
    largest: float
    at: tuple[int, ...]
    values: tuple[float, float]
    first: tuple[int, ...] | None

    def __bool__(self) -> bool:
        return self.first is None

    def __str__(self) -> str:
        largest = f"the largest difference is {self.largest:.2g} at {_place(self.at)}"
        if self.first is None:
            return f"the same function: {largest} (tolerance {self.tolerance:g})"
        a, b = self.values
        first = f"the first beyond {self.tolerance:g} is at {_place(self.first)}"
        return f"different: {largest} ({a:.6g} and {b:.6g}); {first}"


def compare(a: Any, b: Any, x: ArrayLike, *, tolerance: float | None = None) -> Comparison:
    """Run two models on the same inputs, and tell whether they are the same function, and where they part.

    Parameters
    ----------
    a, b : GRU, torch.nn.Module, InferenceSession, path_like or callable
        The models. A session is one of rgru or of ONNX Runtime, with one input without a default. A path ending in
        ``.onnx`` is run by ONNX Runtime, another one is loaded by `rgru.load`. A callable takes `x`. Of several
        outputs the first is compared.
    x : array_like, shape (N, T, I)
        Inputs, batch first; for a GRU of PyTorch or of `rgru.torch` without ``batch_first`` they are turned.
    tolerance : float, optional
        The largest difference of outputs that counts as rounding. By default 1e-5, and 1e-11 or 1e-2 if the outputs
        are float64 or float16.

    Returns
    -------
    Comparison
        True if the models agree, with a readable text: ``print(rgru.compare(a, b, x))``. Its attributes are the
        `tolerance`, the `largest` difference, the place `at` which it is (sequence, step, feature), the two `values`
        there, and the place of the `first` difference beyond the tolerance, in the order of the steps, or None.

    Raises
    ------
    TypeError
        If a model is none of these.
    ValueError
        If the outputs have different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> gru, other = rgru.GRU(3, 8, seed=0), rgru.GRU(3, 8, seed=0)
    >>> x = np.ones((2, 5, 3), np.float32)
    >>> print(rgru.compare(gru, other, x))
    the same function: the largest difference is 0 at sequence 0, step 0, feature 0 (tolerance 1e-05)
    >>> other.layers[0].fwd.b_h = np.ones(8, np.float32)
    >>> comparison = rgru.compare(gru, other, x)
    >>> bool(comparison), comparison.first
    (False, (0, 0, 0))
    """
    if tolerance is not None and not is_number(tolerance):
        raise TypeError(f"tolerance: expected a number, got {tolerance!r}")
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"tolerance: expected a number from 0, got {tolerance!r}")
    array = np.asarray(x)
    first, second = (np.atleast_1d(_function(name, model)(array)) for name, model in (("a", a), ("b", b)))
    if first.shape != second.shape:
        raise ValueError(f"a, b: expected outputs of the same shape, got {first.shape} and {second.shape}")
    if tolerance is None:
        tolerance = max(TOLERANCES.get(one.dtype.itemsize, 0.0) for one in (first, second))
    return _compared(first.astype(np.float64), second.astype(np.float64), float(tolerance))


def _compared(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> Comparison:
    if not a.size:
        return Comparison(tolerance, 0.0, (), (np.nan, np.nan), None)
    with np.errstate(invalid="ignore"):
        off = np.abs(a - b)
    off[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    off[np.isnan(off)] = np.inf
    at = np.unravel_index(int(off.argmax()), off.shape)
    by_step = np.moveaxis(off, 1, 0) if off.ndim > 1 else off
    beyond = np.argwhere(by_step > tolerance)
    first = None
    if len(beyond):
        step, *rest = (int(i) for i in beyond[0])
        first = (rest[0], step, *rest[1:]) if rest else (step,)
    return Comparison(tolerance, float(off[at]), tuple(map(int, at)), (float(a[at]), float(b[at])), first)


def _place(at: tuple[int, ...]) -> str:
    names = ("sequence", "step", "feature") if len(at) == 3 else ("sequence", "feature")[: len(at)]
    return ", ".join(f"{name} {i}" for name, i in zip(names, at, strict=False)) or "no place"


def _function(name: str, model: Any) -> Callable[[NDArray[Any]], Any]:
    """Return a model as a function from inputs to its first output."""
    if isinstance(model, (str, os.PathLike)):
        if Path(model).suffix != ".onnx":
            return _function(name, load(model))
        runtime = needed("onnxruntime", "onnx")
        return _function(name, runtime.InferenceSession(os.fspath(model), providers=["CPUExecutionProvider"]))
    if isinstance(model, GRU):
        return lambda x: model(x)[0]
    if hasattr(model, "get_inputs"):
        names = [one.name for one in model.get_inputs()]
        if len(names) != 1:
            raise ValueError(f"{name}: expected a session with one input, got {', '.join(names)}")
        return lambda x: model.run(None, {names[0]: x})[0]
    if hasattr(model, "state_dict"):
        return lambda x: _run_torch(model, x)
    if callable(model):
        return lambda x: _first(model(x))
    raise TypeError(f"{name}: expected a GRU, a module, a session, a path or a function, got {type(model).__name__}")


def _run_torch(module: Any, x: NDArray[Any]) -> NDArray[Any]:
    """Run a module as it is in use: without dropout, which `torch.nn.Module.eval` switches off."""
    import torch

    turned = isinstance(module, torch.nn.RNNBase) and not module.batch_first
    training = [one for one in module.modules() if one.training]
    module.eval()
    try:
        with torch.inference_mode():
            output: NDArray[Any] = _first(
                module(torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1) if turned else x)))
            )
    finally:
        for one in training:
            one.training = True
    return output.swapaxes(0, 1) if turned else output


def _first(results: Any) -> Any:
    """Return the first output of several, or the only one, as an array if it is one of PyTorch's."""
    output = results[0] if isinstance(results, (tuple, list)) else results
    return output.detach().cpu().numpy() if hasattr(output, "detach") else output
