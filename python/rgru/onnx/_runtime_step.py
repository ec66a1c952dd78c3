"""Pieces of a graph as sessions of ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._optional_imports import needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rgru.convert.onnx._graph import Graph
    from rgru.onnx._partition import Piece


def new_options(threads: int) -> Any:
    """Return options for sessions that take turns with rgru on the same cores: threads do not spin between calls."""
    options = needed("onnxruntime", "onnx").SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def new_session(name: str, model: Any, options: Any, providers: Sequence[Any]) -> Any:
    """Start ONNX Runtime with a ModelProto.

    Raises
    ------
    ValueError
        If it refuses the model, or the model has 2 GiB or more.
    """
    runtime = needed("onnxruntime", "onnx")
    try:
        return runtime.InferenceSession(model.SerializeToString(), options, list(providers), enable_fallback=0)
    except Exception as error:  # its errors have no common type
        raise ValueError(f"{name}: ONNX Runtime refuses the model: {error}") from error


class NotATensorError(ValueError):
    """A value that cannot be passed between sessions."""


class RuntimeStep:
    """A piece of a graph, from values of the graph to values of the graph.

    Parameters
    ----------
    graph : Graph
    piece : Piece
    types : dict of str to ValueInfoProto
        Those of the tensors that the piece may read; it adds what ONNX Runtime infers for those that it makes.
    options, providers
        As in `rgru.onnx.InferenceSession`.

    Raises
    ------
    NotATensorError
        If it reads what is no tensor.
    ValueError
        If ONNX Runtime refuses the piece.
    """

    def __init__(
        self, graph: Graph, piece: Piece, types: dict[str, Any], options: Any, providers: Sequence[Any]
    ) -> None:
        from onnx import TensorProto, helper

        tensors = {f"tensor({name.lower()})": value for name, value in TensorProto.DataType.items()}
        missing = [name for name in piece.reads if name not in types]
        if missing:
            raise NotATensorError(f"{missing[0]!r} is no tensor, and cannot be passed between sessions")
        self.reads, self.writes = piece.reads, piece.writes
        nodes = [graph.nodes[i] for i in piece.nodes]
        read = {name for i in piece.nodes for name in graph.reads[i]}
        declared = {one.name: one for one in graph.model.graph.output}
        part = helper.make_graph(
            nodes,
            graph.model.graph.name or "graph",
            [types[name] for name in piece.reads],
            # Without a type ONNX Runtime infers it.
            [declared.get(name) or helper.make_empty_tensor_value_info(name) for name in piece.writes],
            [one for name, one in graph.initializers.items() if name in read],
            sparse_initializer=[one for name, one in graph.sparse.items() if name in read],
        )
        # Before version 4 initialisers had to be inputs, too.
        version = max(4, graph.model.ir_version)
        model = helper.make_model(part, opset_imports=graph.model.opset_import, ir_version=version)
        self.session = new_session(graph.name, model, options, providers)
        for one in self.session.get_outputs():
            if one.type in tensors:
                types[one.name] = helper.make_tensor_value_info(one.name, tensors[one.type], one.shape)

    def run(self, values: dict[str, Any]) -> None:
        """Compute; `values` has what the step reads, and receives what it makes."""
        results = self.session.run(self.writes, {name: values[name] for name in self.reads})
        values.update(zip(self.writes, results, strict=True))
