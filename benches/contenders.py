"""rgru and its peers behind one face: ``make(case) -> (run, read)``, or None where a peer does not have the cell.

``run()`` does the work and gives what the library gives; ``read(result)`` turns that into NumPy arrays in one order:
[y (B, T, H)] for inference; [y, dx, dW, dU, db] for training, W, U and b as rgru has them (no gradient of ``b_hh``: the
other biases hold it). Each peer gets the layout and settings that it is fastest with.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from rgru.convert.onnx import to_arrays
from rgru.nn._gate_order import gates_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cases import Case

    Contender = tuple[Callable[[], Any], Callable[[Any], list[Any]]]
    Maker = Callable[[Case], Contender | None]


def our_gru(case: Case) -> rgru.GRU:
    """The layer with the case's parameters."""
    gru = rgru.GRU(case.inputs, case.hidden, reset_after=case.reset_after, seed=0)
    gru.params.update({f"layers.0.fwd.{name}": value for name, value in case.parameters().items()})
    return gru


def rgru_inference(case: Case) -> Contender:
    gru, (x, _) = our_gru(case), case.arrays()
    return lambda: gru(x), lambda result: [result[0]]


def rgru_training(case: Case) -> Contender:
    gru, (x, dy) = our_gru(case), case.arrays()

    def run() -> Any:
        y, _, tape = gru.record(x)
        return y, tape.backward(dy)

    def read(result: Any) -> list[Any]:
        y, grads = result
        return [y, grads.x, *(grads.params[f"layers.0.fwd.{name}"] for name in ("W", "U", "b"))]

    return run, read


def torch_module(case: Case) -> Any:
    """A `torch.nn.GRU`, time first: its faster layout."""
    import torch

    module = torch.nn.GRU(case.inputs, case.hidden)
    p = case.parameters()
    biases = np.zeros(3 * case.hidden, np.float32)
    biases[2 * case.hidden :] = p["b_hh"]
    values = gates_out(p["W"], "rzh"), gates_out(p["U"], "rzh"), gates_out(p["b"], "rzh"), biases
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.data = torch.tensor(value)
    return module


def torch_inference(case: Case) -> Contender | None:
    if not case.reset_after:
        return None
    import torch

    module = torch_module(case).eval()
    x = torch.tensor(case.arrays()[0].transpose(1, 0, 2).copy())

    def run() -> Any:
        with torch.inference_mode():
            return module(x)[0]

    return run, lambda y: [y.numpy().transpose(1, 0, 2)]


def torch_training(case: Case) -> Contender | None:
    if not case.reset_after:
        return None
    import torch

    module = torch_module(case)
    x, dy = (torch.tensor(array.transpose(1, 0, 2).copy()) for array in case.arrays())
    x.requires_grad_()
    parameters = list(module.parameters())

    def run() -> Any:
        y = module(x)[0]
        return y, torch.autograd.grad(y, [x, *parameters], dy)

    def read(result: Any) -> list[Any]:
        y, (dx, dw, du, db, _) = result
        gates = [gates_out(grad.numpy(), "rzh") for grad in (dw, du, db)]
        return [y.detach().numpy().transpose(1, 0, 2), dx.numpy().transpose(1, 0, 2), *gates]

    return run, read


def onnxruntime_inference(case: Case) -> Contender:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    [(*arrays, attributes)] = to_arrays(our_gru(case))
    parts = dict(zip("WRB", arrays, strict=True))
    node = helper.make_node("GRU", ["X", *parts], ["Y"], **attributes)
    shape_x, shape_y = (case.time, case.batch, case.inputs), (case.time, 1, case.batch, case.hidden)
    graph = helper.make_graph(
        [node],
        "gru",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape_x)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, shape_y)],
        [numpy_helper.from_array(value, name) for name, value in parts.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = rgru.info()["num_threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    x = onnxruntime.OrtValue.ortvalue_from_numpy(case.arrays()[0].transpose(1, 0, 2).copy())
    y = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape_y, np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("X", x)
    binding.bind_ortvalue_output("Y", y)

    def run() -> Any:
        session.run_with_iobinding(binding)
        return y

    return run, lambda y: [y.numpy()[:, 0].transpose(1, 0, 2)]


FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


def openvino_inference(case: Case, precision: Mapping[str, Any] = FLOAT32) -> Contender:
    import openvino
    from openvino import opset5 as ops

    [(w, r, biases, _)] = to_arrays(our_gru(case))
    assert biases is not None
    w, r, b = w[0], r[0], biases[0]
    if case.reset_after:  # gates z, r, h, and the candidate's recurrent bias as a fourth
        h = case.hidden
        b = np.concatenate([b[: 3 * h], b[5 * h :]])
    else:
        b = b[: 3 * case.hidden]
    source = ops.parameter((case.batch, case.time, case.inputs), np.float32)
    state = ops.constant(np.zeros((case.batch, 1, case.hidden), np.float32))
    lengths = ops.constant(np.full(case.batch, case.time, np.int32))
    node = ops.gru_sequence(
        source,
        state,
        lengths,
        ops.constant(w[None]),
        ops.constant(r[None]),
        ops.constant(b[None]),
        case.hidden,
        "forward",
        linear_before_reset=case.reset_after,
    )
    model = openvino.Model([node.output(0)], [source], "gru")
    settings = {
        **precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": rgru.info()["num_threads"],
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    x = case.arrays()[0]
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def run() -> Any:
        request.infer()
        return x, request  # x is only borrowed

    return run, lambda result: [result[1].get_output_tensor().data[:, 0]]


def jax_training(case: Case) -> Contender:
    import jax
    import jax.numpy as jnp

    hidden = case.hidden

    def forward(x: Any, w: Any, u: Any, b: Any, b_hh: Any) -> Any:
        projected = x @ w.T + b

        def step(h: Any, a: Any) -> Any:
            if case.reset_after:
                recurrent = h @ u.T
                gates = jax.nn.sigmoid(a[:, : 2 * hidden] + recurrent[:, : 2 * hidden])
                r, z = gates[:, :hidden], gates[:, hidden:]
                c = jnp.tanh(a[:, 2 * hidden :] + r * (recurrent[:, 2 * hidden :] + b_hh))
            else:
                gates = jax.nn.sigmoid(a[:, : 2 * hidden] + h @ u[: 2 * hidden].T)
                r, z = gates[:, :hidden], gates[:, hidden:]
                c = jnp.tanh(a[:, 2 * hidden :] + (r * h) @ u[2 * hidden :].T)
            h = h + z * (c - h)
            return h, h

        return jax.lax.scan(step, jnp.zeros((case.batch, hidden), jnp.float32), projected)[1]

    def step(primals: tuple[Any, ...], dy: Any) -> Any:
        y, back = jax.vjp(forward, *primals)
        return y, back(dy)

    compiled = jax.jit(step)
    p = case.parameters()
    x, dy = (jnp.asarray(array.transpose(1, 0, 2)) for array in case.arrays())
    primals = x, *map(jnp.asarray, (p["W"], p["U"], p["b"], p.get("b_hh", np.zeros(hidden, np.float32))))

    def read(result: Any) -> list[Any]:
        y, (dx, dw, du, db, _) = result
        return [np.asarray(y).transpose(1, 0, 2), np.asarray(dx).transpose(1, 0, 2), *map(np.asarray, (dw, du, db))]

    return lambda: jax.block_until_ready(compiled(primals, dy)), read


def made(makers: Mapping[str, Maker], case: Case) -> dict[str, Contender]:
    """Those that have the case's cell."""
    return {name: contender for name, maker in makers.items() if (contender := maker(case)) is not None}


INFERENCE: dict[str, Maker] = {
    "rgru": rgru_inference,
    "onnxruntime": onnxruntime_inference,
    "openvino": openvino_inference,
    "torch": torch_inference,
}
REDUCED: dict[str, Maker] = {"openvino_default": partial(openvino_inference, precision={})}
"""Peers with the precision that they choose by default: OpenVINO multiplies in bfloat16 where the CPU can."""

TRAINING: dict[str, Maker] = {"rgru": rgru_training, "torch": torch_training, "jax": jax_training}
