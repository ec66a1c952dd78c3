"""Whole models of PyTorch: what their `forward` does, followed by torch.fx, as layers in a row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert._layers import Embedding, model_of, pooled_at_gru
from rgru.model import Activation, Dropout, LayerNorm, Linear, Model, Pool
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Callable

_LAST_AXES = (-1, 2)
"""The axis of features of steps (N, T, K)."""


@dataclass(frozen=True)
class _Value:
    """What a node of the graph computes.

    Attributes
    ----------
    kind : str
        "steps" (N, T, K) or (T, N, K), "rows" (N, K), "outputs" (a GRU's pair of steps and states), "states"
        (L*D, N, H), "state" (one of these, of the last layer), or "pair" (largest values and their places).
    layers : tuple
        The layers that compute it, from the input on.
    direction : int
        Of a "state": 0 forward, 1 reverse.
    batch_first : bool
        Of steps.
    """

    kind: str
    layers: tuple[Any, ...] = ()
    direction: int = 0
    batch_first: bool | None = None

    @property
    def gru(self) -> GRU:
        """The last GRU."""
        return next(layer for layer in reversed(self.layers) if isinstance(layer, GRU))

    def then(self, *layers: Any) -> _Value:
        """Return the value after more layers."""
        return replace(self, layers=(*self.layers, *layers))


def torch_model(module: Any, gru_from: Callable[[Any], GRU]) -> Model:
    """Make a model of a module whose forward runs layers in a row.

    Parameters
    ----------
    module : torch.nn.Module
    gru_from : callable
        Makes a GRU of a `torch.nn.GRU`.

    Raises
    ------
    TypeError, ValueError
        If the forward cannot be followed, or does something that a `rgru.Model` cannot: the error names it.
    """
    import torch.fx

    hooked = [name for name, part in module.named_modules() if part._forward_hooks or part._forward_pre_hooks]
    if hooked:
        raise TypeError(f"source: expected no forward hooks, which may change numbers, got some at {hooked[0]!r}")
    try:
        graph = torch.fx.Tracer().trace(module)
    except Exception as error:  # whatever the module's code raises when it is given no tensors
        raise TypeError(
            f"source: expected a module whose forward torch.fx can follow, got {type(module).__name__} ({error})"
        ) from error
    return _Walk(module, gru_from).run(graph)


class _Walk:
    """Follows a graph node by node."""

    def __init__(self, module: Any, gru_from: Callable[[Any], GRU]) -> None:
        self._module, self._gru_from = module, gru_from
        self._values: dict[Any, _Value] = {}
        self._input = None

    def run(self, graph: Any) -> Model:
        """Return the model that a graph computes."""
        for node in graph.nodes:
            if node.op == "output":
                return self._finished(node.args[0])
            if node.op == "placeholder":
                self._placeholder(node)
                continue
            value = {"call_module": self._module_call, "call_function": self._call, "call_method": self._call}.get(
                node.op
            )
            if value is None:
                raise _cannot(node, "parameters of its own")
            self._values[node] = value(node)
        raise ValueError("source: expected a forward with a result, got none")

    def _placeholder(self, node: Any) -> None:
        if self._input is None:
            self._input = node
            self._values[node] = _Value("steps")
        elif not node.args or node.args[0] is not None:
            raise _cannot(node, "a second input")

    def _finished(self, result: Any) -> Model:
        value = self._values.get(result)
        if value is None or value.kind not in ("steps", "rows"):
            got = "several results" if isinstance(result, (tuple, list, dict)) else str(result)
            raise ValueError(f"source: expected a forward that returns one tensor of outputs, got {got}")
        return model_of(value.layers)

    # -- modules ---------------------------------------------------------------------------------------------------

    def _module_call(self, node: Any) -> _Value:
        import torch

        part = self._module.get_submodule(node.target)
        value = self._value(node, node.args[0] if node.args else None)
        others = [one for one in (*node.args[1:], *node.kwargs.values()) if one is not None and not self._is_none(one)]
        if others:
            raise _cannot(node, "further arguments")
        if isinstance(part, torch.nn.GRU):
            self._expect(node, value, "steps")
            if value.batch_first not in (None, part.batch_first):
                raise _cannot(node, f"batch_first={part.batch_first} after {value.batch_first}")
            return replace(value.then(self._gru_from(part)), kind="outputs", batch_first=part.batch_first)
        if isinstance(part, torch.nn.Embedding):
            if value.layers or part.max_norm is not None:
                raise _cannot(node, "an embedding of other values than the inputs" if value.layers else "max_norm")
            return value.then(Embedding(_array(part.weight)))
        self._expect(node, value, "steps", "rows")
        if type(part) is torch.nn.Softmax:
            _check_last_axis(node, value, part.dim)
        return value.then(*_row_layers(node, part))

    def _is_none(self, node: Any) -> bool:
        return getattr(node, "op", None) == "placeholder" and node not in self._values

    # -- functions -------------------------------------------------------------------------------------------------

    def _call(self, node: Any) -> _Value:
        name = node.target if isinstance(node.target, str) else node.target.__name__
        method = getattr(self, f"_do_{name.strip('_')}", None)
        if method is not None:
            return method(node)  # type: ignore[no-any-return]
        activation = _FUNCTIONS.get(name)
        if activation is None or len(node.args) > 1 or set(node.kwargs) - {"inplace"}:
            raise _cannot(node, f"{name}{_shown(node)}")
        value = self._value(node, node.args[0])
        self._expect(node, value, "steps", "rows")
        return value.then(Activation(activation))

    def _do_getitem(self, node: Any) -> _Value:
        value, index = self._value(node, node.args[0]), node.args[1]
        if value.kind == "outputs" and index in (0, 1):
            return replace(value, kind=("steps", "states")[index])
        if value.kind == "pair" and index == 0:
            return replace(value, kind="rows")
        if value.kind == "states" and isinstance(index, int):
            return self._state(node, value, index)
        if value.kind == "steps" and value.batch_first is not None and self._is_last_step(value, index):
            if value.gru.bidirectional or value.gru.reverse:
                raise _cannot(
                    node, "the outputs at the last step of two directions, where the reverse one has read only one step"
                )
            return replace(value, kind="rows", layers=tuple(pooled_at_gru(value.layers)))
        raise _cannot(node, f"the index {index!r}")

    def _is_last_step(self, value: _Value, index: Any) -> bool:
        index = index if isinstance(index, tuple) else (index,)
        while index and index[-1] in (slice(None), ...):
            index = index[:-1]
        return bool(index == ((slice(None), -1) if value.batch_first else (-1,)))

    def _state(self, node: Any, value: _Value, index: int) -> _Value:
        gru = value.gru
        directions = 2 if gru.bidirectional else 1
        count = gru.num_layers * directions
        at = index % count if -count <= index < count else -1
        if at < count - directions:
            raise _cannot(node, f"the state {index} of {gru!r}, which is not of its last layer")
        kind = "state" if directions == 2 else "rows"
        layers = value.layers if kind == "state" else (*value.layers, Pool("last"))
        return replace(value, kind=kind, layers=layers, direction=at % directions)

    def _do_cat(self, node: Any) -> _Value:
        given, axis = _arguments(node, "tensors", ("dim", 0))
        parts = [self._values.get(part) for part in given]
        states = all(part is not None and part.kind == "state" for part in parts)
        if not states or axis not in (1, -1) or [part.direction for part in parts if part] != [0, 1]:
            raise _cannot(node, f"cat{_shown(node)}")
        assert parts[0] is not None
        return replace(parts[0], kind="rows", layers=(*parts[0].layers, Pool("last")))

    def _do_mean(self, node: Any) -> _Value:
        return self._pooled(node, "mean", "rows")

    def _do_amax(self, node: Any) -> _Value:
        return self._pooled(node, "max", "rows")

    def _do_max(self, node: Any) -> _Value:
        return self._pooled(node, "max", "pair")

    def _pooled(self, node: Any, kind: str, result: str) -> _Value:
        given, axis, kept = _arguments(node, "input", ("dim", None), ("keepdim", False))
        value = self._value(node, given)
        time = 1 if value.batch_first else 0
        axes = axis if isinstance(axis, (tuple, list)) else (axis,)
        if value.kind != "steps" or value.batch_first is None or kept or tuple(axes) not in ((time,), (time - 3,)):
            raise _cannot(node, f"{node.target if isinstance(node.target, str) else kind}{_shown(node)}")
        return replace(value, kind=result, layers=(*value.layers, Pool(kind)))

    def _do_getattr(self, node: Any) -> _Value:
        value = self._value(node, node.args[0])
        if value.kind != "pair" or node.args[1] != "values":
            raise _cannot(node, f"the attribute {node.args[1]}")
        return replace(value, kind="rows")

    def _do_squeeze(self, node: Any) -> _Value:
        given, axis = _arguments(node, "input", ("dim", None))
        value = self._value(node, given)
        if value.kind == "states" and axis == 0 and value.gru.num_layers == 1 and not value.gru.bidirectional:
            return self._state(node, value, 0)
        raise _cannot(node, f"squeeze{_shown(node)}")

    def _do_softmax(self, node: Any) -> _Value:
        given, axis, *_ = _arguments(node, "input", ("dim", None), ("_stacklevel", 3), ("dtype", None))
        value = self._value(node, given)
        _check_last_axis(node, value, axis)
        return value.then(Activation("softmax"))

    def _do_dropout(self, node: Any) -> _Value:
        given, rate, training, _ = _arguments(node, "input", ("p", 0.5), ("training", True), ("inplace", False))
        value = self._value(node, given)
        if training and not self._module.training:
            raise _cannot(node, "dropout that acts outside of training")
        self._expect(node, value, "steps", "rows")
        return value.then(Dropout(rate))

    # -- common ----------------------------------------------------------------------------------------------------

    def _value(self, node: Any, given: Any) -> _Value:
        value = self._values.get(given) if hasattr(given, "op") else None
        if value is None:
            raise _cannot(node, f"the argument {given!r}")
        return value

    def _expect(self, node: Any, value: _Value, *kinds: str) -> None:
        if value.kind not in kinds:
            raise _cannot(node, f"a layer of {value.kind}, not of {' or '.join(kinds)}")


_MODULES: dict[str, Any] = {
    "ReLU": lambda part: "relu",
    "Tanh": lambda part: "tanh",
    "Sigmoid": lambda part: "sigmoid",
    "Softsign": lambda part: "softsign",
    "SiLU": lambda part: "silu",
    "Hardsigmoid": lambda part: ("hard_sigmoid", 1 / 6, 0.5),
    "ELU": lambda part: ("elu", part.alpha),
    "LeakyReLU": lambda part: ("leaky_relu", part.negative_slope),
}
_FUNCTIONS: dict[str, Any] = {
    "relu": "relu",
    "relu_": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softsign": "softsign",
    "silu": "silu",
    "hardsigmoid": ("hard_sigmoid", 1 / 6, 0.5),
}


def _row_layers(node: Any, part: Any) -> list[Any]:
    """Return the layers for a module that treats rows by themselves."""
    import torch

    kind = type(part).__name__
    if type(part).__module__.startswith("torch.nn."):
        if isinstance(part, torch.nn.Identity):
            return []
        if isinstance(part, torch.nn.Dropout):
            return [Dropout(part.p)]
        if isinstance(part, torch.nn.Linear):
            return [Linear.from_arrays(_array(part.weight), None if part.bias is None else _array(part.bias))]
        if isinstance(part, torch.nn.LayerNorm) and len(part.normalized_shape) == 1:
            if part.weight is None:
                raise _cannot(node, "a LayerNorm without gains, whose type is not known")
            gain = _array(part.weight)
            bias = np.zeros_like(gain) if part.bias is None else _array(part.bias)
            return [LayerNorm.from_arrays(gain, bias, epsilon=part.eps)]
        if isinstance(part, torch.nn.Softmax):
            return [Activation("softmax")]
        if kind in _MODULES:
            return [Activation(_MODULES[kind](part))]
    raise _cannot(node, f"{type(part).__module__}.{kind}")


def _check_last_axis(node: Any, value: _Value, axis: Any) -> None:
    if axis not in (_LAST_AXES if value.kind == "steps" else (-1, 1)):
        raise _cannot(node, f"softmax{_shown(node)}")


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()


def _arguments(node: Any, first: str, *others: tuple[str, Any]) -> list[Any]:
    """Return a call's arguments in order, by position or name."""
    names = [first, *(name for name, _ in others)]
    found = {**dict(others), **dict(zip(names, node.args, strict=False)), **node.kwargs}
    if "axis" in found and "dim" in found:
        found["dim"] = found.pop("axis")
    if set(found) - set(names) or len(node.args) > len(names):
        raise _cannot(node, f"the arguments {_shown(node)}")
    return [found[name] for name in names]


def _shown(node: Any) -> str:
    given = [str(one) for one in node.args[1:]] + [f"{name}={one}" for name, one in node.kwargs.items()]
    return f"({', '.join(['...', *given])})"


def _cannot(node: Any, what: str) -> ValueError:
    place = f" at {node.target!r}" if node.op == "call_module" else f" at {node.name!r}"
    return ValueError(
        "source: expected layers in a row (Embedding, GRU, Linear, LayerNorm, Dropout, activations, pooling over "
        f"time), got {what}{place}; prefix= converts a GRU by itself"
    )
