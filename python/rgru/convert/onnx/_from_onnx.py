"""ONNX files as GRUs and models."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, overload

from rgru._validation.scalars import as_bool
from rgru.convert.onnx._graph import Graph
from rgru.convert.onnx._model_file import read_model
from rgru.convert.onnx._nodes import check_inputs, gru_nodes, stacks
from rgru.convert.onnx._whole_model import whole_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rgru.convert.onnx._nodes import Node
    from rgru.model import Model
    from rgru.nn._gru import GRU

EXPORTERS = (
    "some exporters of PyTorch omitted linear_before_reset=1 (pytorch#189225, onnxscript#2852), and then the file "
    "computes another function than the PyTorch model, which nothing in the file shows"
)


@overload
def from_onnx(path: Any, node: str, *, reset_after: bool | None = None) -> GRU: ...
@overload
def from_onnx(path: Any, node: None = None, *, reset_after: bool | None = None) -> Any: ...
def from_onnx(path: Any, node: str | None = None, *, reset_after: bool | None = None) -> GRU | Model:
    """Make a GRU, or a whole model, of an ONNX model.

    Weights may be initialisers, external data in the model's folder, or what exporters compute of them by Transpose,
    Slice, Concat and the like. GRU nodes that follow each other become the layers of one GRU.

    Parameters
    ----------
    path : path_like, bytes or onnx.ModelProto
        The model. Its graph must be layers in a row: an embedding, GRUs, linear layers, normalisation, dropout,
        activations, pooling over time. Nodes between them that only move numbers are recognised by what they do.
    node : str, optional
        The name of a GRU node, or what the names of nodes, or of their weights, begin with (``"encoder."``): then
        these are converted by themselves, whatever is around them. Several nodes have to be the layers of one GRU. The
        empty string stands for all.
    reset_after : bool, optional
        True reads nodes with ``linear_before_reset=0`` as reset-after: what a PyTorch model was whose exporter omitted
        the attribute. False accepts such nodes of PyTorch as they are. By default they are accepted with a warning.

    Returns
    -------
    GRU or Model
        Without `node` a `rgru.Model` of all that the graph computes; if that is what a GRU computes, its steps or its
        states for each layer, a GRU. With `node` a GRU. Both are batch first, whatever the model is, and a model
        returns (N, T, O) or (N, O), whatever axes of one number the graph drops or adds. Float16 weights
        become float32, with all their values. Initial states that are constant become learned ones, unless they are
        zero. Those that the model takes or computes are not part of a GRU, and neither are ``sequence_lens``: pass
        them as `h0` and `lengths`. A model with these beside other layers is refused.

    Raises
    ------
    TypeError
        If `path` is none of these.
    ValueError
        If the file is no valid model, or does something that a `rgru.Model` cannot: the error names the node.
        If it has no such `node` or several GRUs, or a GRU node has a feature that rgru lacks (see `from_arrays`),
        weights that depend on the model's inputs, or constant ``sequence_lens``. The message has the names and sizes of
        the nodes.
    ImportError
        If onnx is not installed.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If a model of PyTorch has ``linear_before_reset=0``, and `reset_after` is not given.

    Examples
    --------
    >>> import os, tempfile
    >>> import onnx
    >>> import rgru
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.onnx")
    ...     rgru.GRU(3, 8, num_layers=2).to_onnx(path)
    ...     rgru.from_onnx(path)
    GRU(3, 8, num_layers=2)
    """
    if node is not None and not isinstance(node, str):
        raise TypeError(f"node: expected a str, got {type(node).__name__}")
    name, model = read_model(path)
    graph = Graph(name, model)
    nodes = gru_nodes(graph)
    chosen = nodes if node is None else _named(graph, nodes, node)
    if not chosen:
        listed = "; ".join(map(str, nodes)) or "none at the top level of the graph"
        asked = "a GRU node" if node is None else f"a GRU node whose name or weights begin with {node!r}"
        raise ValueError(f"{name}: expected {asked}, got {listed}")
    overrides = _overrides(name, model, chosen, reset_after)
    return whole_model(graph, nodes, overrides) if node is None else _one_gru(graph, chosen, overrides)


def _one_gru(graph: Graph, nodes: Sequence[Node], overrides: Mapping[str, Any]) -> GRU:
    """Return the GRU whose layers the nodes are, whatever is around them."""
    found, refused = stacks(graph, nodes, overrides)
    for one, why in refused.items():
        raise ValueError(f"{graph.name}: GRU node {one!r}: {why}")
    if len(found) > 1:
        listed = "; ".join(", then ".join(map(str, one.nodes)) for one in found)
        raise ValueError(f"{graph.name}: expected one GRU, got {len(found)}, choose by node=: {listed}")
    [stack] = found
    check_inputs(graph, stack)
    return stack.gru


def _named(graph: Graph, nodes: Sequence[Node], name: str) -> list[Node]:
    """Return the node of this name, or else those whose names, or those of their weights, begin with it."""
    exact = [one for one in nodes if one.name == name]
    if exact:
        return exact
    found = []
    for one in nodes:
        sources = {read for i in graph.needed(one.inputs[1:4]) for read in graph.reads[i]}
        if any(read.startswith(name) for read in {one.name, *sources, *one.inputs[1:4]}):
            found.append(one)
    return found


def _overrides(name: str, model: Any, nodes: Sequence[Node], reset_after: bool | None) -> dict[str, Any]:
    """Return the attributes that the choice of a cell replaces; warn about files that may have the wrong one."""
    before = [one for one in nodes if not one.attributes.get("linear_before_reset")]
    if reset_after is None:
        if before and model.producer_name == "pytorch":
            warnings.warn(
                f"{name}: GRU node {before[0].name!r} has linear_before_reset=0, which PyTorch does not have: "
                f"{EXPORTERS}. For a model that comes from torch.nn.GRU pass reset_after=True, else reset_after=False",
                UserWarning,
                stacklevel=3,
            )
        return {}
    if as_bool("reset_after", reset_after):
        return {"linear_before_reset": 1}
    if len(before) < len(nodes):
        raise ValueError(f"reset_after: expected True or None for {name}, which has linear_before_reset=1, got False")
    return {}
