"""GRUs of whole ONNX files."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from rgru._validation.scalars import as_bool
from rgru.convert.onnx._graph import Graph
from rgru.convert.onnx._model_file import read_model
from rgru.convert.onnx._nodes import gru_nodes, stacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rgru.convert.onnx._nodes import Node, Stack
    from rgru.nn._gru import GRU

EXPORTERS = (
    "some exporters of PyTorch omitted linear_before_reset=1 (pytorch#189225, onnxscript#2852), and then the file "
    "computes another function than the PyTorch model, which nothing in the file shows"
)


def from_onnx(path: Any, node: str | None = None, *, reset_after: bool | None = None) -> GRU:
    """Make a GRU of the GRU nodes of an ONNX model.

    Weights may be initialisers, external data in the model's folder, or what exporters compute of them by Transpose,
    Slice, Concat and the like. Layers that follow each other become one GRU.

    Parameters
    ----------
    path : path_like, bytes or onnx.ModelProto
        The model.
    node : str, optional
        The name of a GRU node, or what the names of nodes, or of their weights, begin with (``"encoder."``). By default
        all GRU nodes. Several nodes have to be the layers of one GRU.
    reset_after : bool, optional
        True reads nodes with ``linear_before_reset=0`` as reset-after: what a PyTorch model was whose exporter omitted
        the attribute. False accepts such nodes of PyTorch as they are. By default they are accepted with a warning.

    Returns
    -------
    GRU
        A batch-first GRU, whatever ``layout`` the nodes have. Float16 weights become float32, with all their values.
        Initial states that are constant become learned ones, unless they are zero. Those that the model takes or
        computes are not part of the GRU, and neither are ``sequence_lens``: pass them as `h0` and `lengths`.

    Raises
    ------
    TypeError
        If `path` is none of these.
    ValueError
        If the file is no valid model, has no such node or several GRUs, or a node has a feature that rgru lacks (see
        `from_arrays`), weights that depend on the model's inputs, or constant ``sequence_lens``. The message has the
        names and sizes of the nodes.
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
    found, refused = stacks(graph, chosen, _overrides(name, model, chosen, reset_after))
    for one, why in refused.items():
        raise ValueError(f"{name}: GRU node {one!r}: {why}")
    if len(found) > 1:
        listed = "; ".join(", then ".join(map(str, one.nodes)) for one in found)
        raise ValueError(f"{name}: expected one GRU, got {len(found)}, choose by node=: {listed}")
    [stack] = found
    _check_inputs(graph, stack)
    return stack.gru


def _named(graph: Graph, nodes: Sequence[Node], name: str) -> list[Node]:
    """Return the node of this name, or else those whose names, or those of their weights, begin with it."""
    exact = [one for one in nodes if one.name == name]
    if exact or not name:
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


def _check_inputs(graph: Graph, stack: Stack) -> None:
    """Refuse constants that a GRU cannot hold, and that would be lost without a word."""
    for one, states in zip(stack.nodes, stack.states, strict=True):
        for kind, value in (("initial_h", states), ("sequence_lens", one.lengths)):
            if value in graph.constants:
                got = " ".join(str(graph.constant(value)).split())[:80]
                expected = "the same states for all sequences" if kind == "initial_h" else "no constant"
                where = f"{graph.name}: GRU node {one.name!r}: {kind}"
                raise ValueError(f"{where}: expected {expected}, got {got}: rgru takes it for each call")
