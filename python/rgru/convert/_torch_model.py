"""Whole models of PyTorch: what their `forward` does, followed by torch.fx, as layers in a row.

The graph runs on numbered arrays of two sizes, as `rgru.convert._places` explains. What only moves numbers is run as it
is, and layers number their outputs anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert._layers import Embedding, model_of, pooled_at_gru
from rgru.convert._places import PROBES, TooManyNumbersError
from rgru.convert._torch_functions import Functions
from rgru.convert._torch_grus import Grus, check_state
from rgru.convert._torch_layers import array, features_of, is_plain, row_layers
from rgru.convert._torch_trace import traced
from rgru.convert._torch_values import Values, cannot, name_of, shown
from rgru.model import Activation, Dropout, Model
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Callable


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
    import torch

    with torch.no_grad():
        return _Walk(module, gru_from).run(traced(module))


class _Walk:
    """Follows a graph node by node."""

    def __init__(self, module: Any, gru_from: Callable[[Any], GRU]) -> None:
        import torch

        self._module, self._values = module, Values()
        self._grus = Grus(self._values, gru_from)
        kinds = (torch.nn.GRU, torch.nn.GRUCell)
        weight = next(next(one.parameters()) for one in module.modules() if isinstance(one, kinds))
        self._dtype = array(weight).dtype
        self._functions = Functions(self._values, self._grus, self._dtype, training=module.training)

    def run(self, nodes: list[Any]) -> Model:
        """Return the model that the nodes compute."""
        for node in nodes:
            if node.op == "output":
                return self._finished(node.args[0])
            try:
                self._follow(node, nodes)
            except TooManyNumbersError as error:
                raise cannot(node, str(error)) from error
        raise ValueError("source: expected a forward with a result, got none")

    def _follow(self, node: Any, nodes: list[Any]) -> None:
        match node.op:
            case "placeholder":
                self._placeholder(node, nodes)
            case "get_attr":
                self._parameter(node)
            case "call_module":
                self._module_call(node)
            case _:
                self._functions.follow(node)

    def _placeholder(self, node: Any, nodes: list[Any]) -> None:
        if self._values.numbered:
            if not node.args:  # else it has its default
                self._functions.second.add(node)
            return
        parts = (self._module.get_submodule(one.target) for one in nodes if one.op == "call_module")
        size = next((size for size in map(features_of, parts) if size is not None), 1)
        place = self._values.places.add([(*some[::-1], size or 1) for some in PROBES], "f" if size else "i")
        self._values.put_numbered(node, [one if size else one[..., 0] for one in place.arrays])

    def _parameter(self, node: Any) -> None:
        found = self._module
        for name in node.target.split("."):
            found = getattr(found, name)
        self._values.put(node, [found.detach().cpu() if hasattr(found, "detach") else found] * len(PROBES))

    # -- modules ---------------------------------------------------------------------------------------------------

    def _module_call(self, node: Any) -> None:
        import torch

        part = self._module.get_submodule(node.target)
        kind = f"{type(part).__module__}.{type(part).__name__}"
        if not isinstance(part, torch.nn.GRU) and not is_plain(part):
            raise cannot(node, f"a {kind} with a forward of its own")
        x, *others = [one for one in (*node.args, *node.kwargs.values()) if one is not None] or [None]
        for one in self._functions.second & set(node.all_input_nodes):
            raise cannot(node, f"a second input {one.name!r}")
        if isinstance(part, torch.nn.GRU):
            self._grus.follow(node, part, x, others[0] if others else None)
        elif others:
            raise cannot(node, "further arguments")
        elif isinstance(part, torch.nn.Embedding):
            self._embedding(node, part, x)
        elif isinstance(part, (torch.nn.AdaptiveAvgPool1d, torch.nn.AdaptiveMaxPool1d)):
            kind = "mean" if isinstance(part, torch.nn.AdaptiveAvgPool1d) else "max"
            self._grus.pool_all(node, x, kind, part.output_size)
        else:
            try:
                layers = row_layers(part, self._dtype)
            except ValueError as error:
                raise cannot(node, str(error)) from error
            if layers is None:
                raise cannot(node, kind)
            if isinstance(part, torch.nn.Softmax):
                self._values.check_last_axis(node, x, part.dim)
            if isinstance(part, torch.nn.BatchNorm1d):
                self._batch_norm(node, x, layers)
            else:
                numbers = all(isinstance(layer, (Activation, Dropout)) for layer in layers)
                self._values.follow(node, x, *layers, numbers=numbers and not isinstance(part, torch.nn.Softmax))

    def _embedding(self, node: Any, part: Any, ids: Any) -> None:
        found = self._values.places.find([one[..., None] for one in self._values.arrays(node, ids)])
        if found is None or found[0].layers or part.max_norm is not None:
            what = "an embedding of other values than the inputs" if part.max_norm is None else "max_norm"
            raise cannot(node, what)
        self._values.put_layer(node, found, [Embedding(array(part.weight))], part.embedding_dim)

    def _batch_norm(self, node: Any, x: Any, layers: list[Any]) -> None:
        """Follow a normalisation of the features, which are the second axis."""
        arrays = self._values.arrays(node, x)
        found = self._values.places.find([np.moveaxis(one, 1, -1) for one in arrays if one.ndim > 1])
        if found is None or found[0].features != len(layers[0].weight):
            raise cannot(node, "BatchNorm1d over another axis than that of features")
        self._values.put_layer(node, found, [*found[0].layers, *layers], found[0].features)
        self._values.put_numbered(node, [np.moveaxis(array(one), -1, 1) for one in self._values.given(node)])

    def _finished(self, result: Any) -> Model:
        several = isinstance(result, (tuple, list, dict))
        if several or result not in self._values.numbered or isinstance(self._values.given(result)[0], tuple):
            got = "several results" if several or result in self._values.numbered else str(result)
            raise ValueError(f"source: expected a forward that returns one tensor of outputs, got {got}")
        place, indices, _ = self._values.rows(result, result)
        chosen = self._values.chosen or result
        check_state(chosen, place)
        orders = place.orders([one.squeeze() for one in indices])
        if orders & {"NT", "TN", "N"}:
            return model_of(place.layers)
        grus = [layer for layer in place.layers if isinstance(layer, GRU)]
        if "last" not in orders or not grus:
            raise cannot(
                chosen, f"{name_of(chosen)}{shown(chosen)}, which is neither all steps nor the last one of a GRU,"
            )
        if self._grus.ragged:
            raise cannot(chosen, "the last of all steps, which a packed sequence may not have")
        if grus[-1].bidirectional:
            raise cannot(
                chosen, "the outputs at the last step of two directions, where the reverse one has read only one step,"
            )
        return model_of(pooled_at_gru(place.layers))
