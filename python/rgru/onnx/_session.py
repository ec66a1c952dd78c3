"""A model with its GRUs on rgru, behind the interface of ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._validation.scalars import as_bool
from rgru.convert.onnx._graph import Graph
from rgru.convert.onnx._model_file import read_model
from rgru.convert.onnx._nodes import gru_nodes, stacks
from rgru.onnx._gru_step import GruStep
from rgru.onnx._metadata import ModelMetadata
from rgru.onnx._partition import partition
from rgru.onnx._runtime_step import NotATensorError, RuntimeStep, new_options, new_session
from rgru.onnx._small_calls import SmallCalls
from rgru.onnx._value import Value, described, fed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class InferenceSession:
    """An ONNX model whose GRU nodes run on rgru, and everything between them on ONNX Runtime.

    The graph is cut at the GRU nodes of its top level. Layers that follow each other run as one GRU. Those within
    Loop, Scan and If, and those with features that rgru lacks, stay with ONNX Runtime; `notes` names them.

    Parameters
    ----------
    path_or_bytes : path_like, bytes or onnx.ModelProto
        The model.
    sess_options : onnxruntime.SessionOptions, optional
        Options of the sessions of ONNX Runtime. By default they have as many threads as rgru has now, which do not spin
        when they are idle: spinning threads would slow down the GRU that runs next.
    providers : sequence, optional
        Execution providers of ONNX Runtime, by default ``["CPUExecutionProvider"]``.
    small_calls : bool, default False
        Whether calls of few steps run on ONNX Runtime as a whole, where they are faster. The first one starts a session
        for them. The last bits of a step then depend on whether it comes alone. By default every call runs the GRUs on
        rgru, with the same bits in any batch.

    Attributes
    ----------
    grus : dict of str to GRU
        The GRUs that run on rgru, by the names of their nodes, which are joined by ", ".
    notes : list of str
        What runs on ONNX Runtime although it is a GRU, and why.

    Raises
    ------
    TypeError
        If `path_or_bytes` is none of these.
    ValueError
        If the model is not valid, or ONNX Runtime refuses it.
    ImportError
        If onnx or onnxruntime is not installed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import onnx, onnxruntime
    >>> import rgru
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.onnx")
    ...     rgru.GRU(3, 8).to_onnx(path)
    ...     session = rgru.onnx.InferenceSession(path)
    >>> y, h_n = session.run(None, {"x": np.zeros((2, 5, 3), np.float32)})
    >>> y.shape, session.grus
    ((2, 5, 8), {'layers.0.y': GRU(3, 8)})
    """

    grus: dict[str, Any]
    notes: list[str]

    def __init__(
        self,
        path_or_bytes: Any,
        sess_options: Any = None,
        providers: Sequence[Any] | None = None,
        *,
        small_calls: bool = False,
    ) -> None:
        name, model = read_model(path_or_bytes)
        graph = Graph(name, model)
        providers = ["CPUExecutionProvider"] if providers is None else providers
        options = new_options(_core.get_num_threads()) if sess_options is None else sess_options
        self._metadata = ModelMetadata.of(model)
        self._infos = graph.inputs
        self._inputs = [described(one) for one in graph.inputs.values()]
        self._outputs = [described(one) for one in model.graph.output]
        self._output_names = {one.name for one in self._outputs}
        found, refused = stacks(graph, gru_nodes(graph))
        self.grus = {", ".join(node.name for node in stack.nodes): stack.gru for stack in found}
        within = [(one, f"it is within a graph of {operator}") for one, operator in _inner(model.graph)]
        self.notes = [f"GRU node {one!r} runs on ONNX Runtime: {why}" for one, why in (*refused.items(), *within)]
        if not (found or self.notes):
            self.notes.append("all of the model runs on ONNX Runtime: it has no GRU nodes")
        units = [GruStep(graph, stack) for stack in found]
        outside = {*graph.outputs, *(read for unit in units for read in unit.reads)}
        self._fixed = {one: graph.constant(one) for one in graph.initializers if one in outside}
        try:
            self._steps = _steps(graph, units, options, providers)
        except NotATensorError as error:
            units, self.grus = [], {}
            self.notes.append(f"all of the model runs on ONNX Runtime: {error}")
            self._steps = _steps(graph, [], options, providers)
        self._small = None
        # ONNX Runtime starts with GRUs in other types, but does not run them.
        plain = all(unit.gru.dtype == np.float32 and not unit.half for unit in units)
        if as_bool("small_calls", small_calls) and units and plain:
            self._small = SmallCalls(graph, units, lambda: new_session(name, model, options, providers))

    def get_inputs(self) -> list[Value]:
        """Return the inputs.

        Returns
        -------
        list of Value
            With the attributes `name`, `type` and `shape`, without initialisers.
        """
        return list(self._inputs)

    def get_outputs(self) -> list[Value]:
        """Return the outputs.

        Returns
        -------
        list of Value
            With the attributes `name`, `type` and `shape`.
        """
        return list(self._outputs)

    def get_modelmeta(self) -> ModelMetadata:
        """Return what the model tells about itself.

        Returns
        -------
        ModelMetadata
            With the attributes of ONNX Runtime's, among them `custom_metadata_map`.
        """
        return self._metadata

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
        """Run the model.

        Parameters
        ----------
        output_names : sequence of str or None
            The outputs to return; None for all.
        input_feed : mapping of str to array_like
            An array for each input; lists are converted to its type.

        Returns
        -------
        list of numpy.ndarray
            The outputs. They may be views with other strides.

        Raises
        ------
        ValueError
            If names are unknown or missing, or an array has a wrong shape for a GRU. For the pieces between GRUs the
            errors of ONNX Runtime are passed on.
        """
        if output_names and not self._output_names.issuperset(output_names):
            expected, got = sorted(self._output_names), ", ".join(map(str, output_names))
            raise ValueError(f"output_names: expected some of {', '.join(expected)}, got {got}")
        small = self._small and self._small.session_for(input_feed)
        if small:
            return list(small.run(output_names, input_feed))
        names = [one.name for one in self._inputs]
        if input_feed.keys() != set(names):
            got = ", ".join(map(str, input_feed)) or "none"
            raise ValueError(f"input_feed: expected arrays for {', '.join(names)}, got {got}")
        values = {**self._fixed, **{name: fed(self._infos[name], array) for name, array in input_feed.items()}}
        for step in self._steps:
            step.run(values)
        return [values[name] for name in output_names or [one.name for one in self._outputs]]


def _steps(
    graph: Graph, units: Sequence[GruStep], options: Any, providers: Sequence[Any]
) -> list[RuntimeStep | GruStep]:
    """Return what a run does, one after the other."""
    from onnx import helper

    stages = partition(graph, units)
    read = {name for piece, members in stages for one in ([piece] if piece else []) + members for name in one.reads}
    types = dict(graph.inputs)
    steps: list[RuntimeStep | GruStep] = []
    for piece, members in stages:
        if piece is not None:
            steps.append(RuntimeStep(graph, piece, types, options, providers))
        for unit in members:
            unit.keep({*graph.outputs, *read})
            steps.append(unit)
            x = types[unit.x]
            for name in unit.writes:
                shape = unit.shape_of(name, described(x).shape)
                types[name] = helper.make_tensor_value_info(name, x.type.tensor_type.elem_type, shape)
    return steps


def _inner(graph: Any) -> Iterator[tuple[str, str]]:
    """Yield the names of the GRU nodes in graphs within nodes, with the operators that these graphs belong to."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from ((one.name or one.output[0], node.op_type) for one in inner.node if one.op_type == "GRU")
                yield from _inner(inner)
