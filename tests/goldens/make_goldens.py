"""Make the golden files of the conversion tests: what other frameworks compute.

Run with Python 3.11 on the CPU, in an environment of its own that holds exactly::

    pip install torch==2.15.0 keras==3.15.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
    python tests/goldens/make_goldens.py              # or only: torch, keras, onnx

Each file is one run of one layer: parameters in the framework's own layout and names, inputs,
outputs and, where the framework has them, the gradients of

    loss = sum(y * dy) + sum(h_n * dh_n)

README.md beside this script lists the keys. Numbers are drawn in float64; a float32 case holds
the same numbers, rounded. Nothing here comes from rgru.

What was found out about the frameworks:

- ONNX Runtime 1.32 loads a GRU in double but refuses to run it ("GRU operator does not support
  double yet"), so its cases are float32. It honours `sequence_lens`: a shorter sequence's
  reverse direction starts at its own end, Y is 0 past it, Y_h is the state after its last step.
  Where a length is 0 its Y_h is 0, not `initial_h` (no file has such a length).
- onnx.reference 1.23.2 computes GRU in float64, honours `direction` and `linear_before_reset`,
  but ignores `sequence_lens`, `clip` and `activations` without a word. The float64 cases
  therefore run it on one sequence at a time, cut to its length, and put the results together;
  each is checked here against ONNX Runtime.
- Keras on the torch backend hands reset_after=True to PyTorch, in float64 where the layer is.
  With reset_after=False it runs its own loop, whose `ops.matmul` casts float64 to float32 on
  every backend but TensorFlow. For the float64 files the entry of Keras's table of dtypes that
  does so is overridden, to what it is on TensorFlow (it matters for keras_f64_before only); the
  result is checked here against the float32 run of Keras as it is.
"""

import argparse
import json
import os
import zlib
from pathlib import Path
from unittest import mock

import numpy as np

FOLDER = Path(__file__).parent
DTYPES = {"f64": "float64", "f32": "float32"}


def rng_of(name):
    """Return the generator of one case: its seed is the CRC-32 of the case's name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def uniform(rng, bound, shape, dtype):
    """Draw from U(-bound, bound) in float64, then round to `dtype`."""
    return rng.uniform(-bound, bound, shape).astype(dtype)


def normal(rng, shape, dtype):
    """Draw from N(0, 1) in float64, then round to `dtype`."""
    return rng.standard_normal(shape).astype(dtype)


def save(name, config, arrays):
    """Write one golden file; `config` becomes a 0-d string array that holds JSON."""
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, config=np.array(json.dumps(config)), **arrays)
    print(f"{path.name:40} {path.stat().st_size:7} bytes")


# PyTorch ---------------------------------------------------------------------------------

TORCH_CASES = {  # name -> (input, hidden, layers, bidirectional, bias, batch, steps, lengths)
    "uni1": (7, 33, 1, False, True, 3, 6, None),
    "bi2": (5, 17, 2, True, True, 3, 6, None),
    "uni1_nobias": (3, 5, 1, False, False, 4, 9, None),
    "packed_uni1": (4, 17, 1, False, True, 4, 8, [5, 8, 1, 6]),
    "packed_bi2": (6, 5, 2, True, True, 4, 8, [5, 8, 1, 6]),
}


def make_torch():
    """PyTorch nn.GRU, batch first, padded and packed, with all gradients."""
    for case in TORCH_CASES:
        for tag, dtype in DTYPES.items():
            torch_case(case, f"torch_{tag}_{case}", dtype)


def torch_case(case, file_name, dtype):
    """Run and save one nn.GRU."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(1)
    size, hidden, layers, bidirectional, bias, batch, steps, lengths = TORCH_CASES[case]
    directions = 2 if bidirectional else 1
    rng = rng_of(f"torch {case}")

    gru = torch.nn.GRU(
        size,
        hidden,
        layers,
        bias=bias,
        batch_first=True,
        bidirectional=bidirectional,
        dtype=getattr(torch, dtype),
    )
    params = {key: uniform(rng, hidden**-0.5, tuple(value.shape), dtype) for key, value in gru.state_dict().items()}
    gru.load_state_dict({key: torch.from_numpy(value) for key, value in params.items()})
    x = torch.from_numpy(normal(rng, (batch, steps, size), dtype)).requires_grad_()
    h0 = torch.from_numpy(uniform(rng, 1, (layers * directions, batch, hidden), dtype))
    h0.requires_grad_()
    dy = torch.from_numpy(normal(rng, (batch, steps, directions * hidden), dtype))
    dh_n = torch.from_numpy(normal(rng, tuple(h0.shape), dtype))

    if lengths is None:
        y, h_n = gru(x, h0)
    else:
        valid = torch.arange(steps) < torch.tensor(lengths)[:, None]
        dy = dy * valid[:, :, None]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, h_n = gru(packed, h0)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=steps)
    ((y * dy).sum() + (h_n * dh_n).sum()).backward()

    config = {
        "framework": f"torch {torch.__version__.split('+')[0]}",
        "input_size": size,
        "hidden_size": hidden,
        "num_layers": layers,
        "bidirectional": bidirectional,
        "bias": bias,
        "reset_after": True,
        "dtype": dtype,
    }
    arrays = {f"param.{key}": value for key, value in params.items()}
    arrays |= {f"grad.{key}": value.grad.numpy() for key, value in gru.named_parameters()}
    if lengths is not None:
        arrays["lengths"] = np.array(lengths, np.int64)
    tensors = {"x": x, "h0": h0, "y": y, "h_n": h_n, "dy": dy, "dh_n": dh_n}
    tensors |= {"dx": x.grad, "dh0": h0.grad}
    save(file_name, config, arrays | {key: t.detach().numpy() for key, t in tensors.items()})


# Keras -----------------------------------------------------------------------------------


def make_keras():
    """Keras GRU with reset_after on and off, biases that are not zero, all gradients."""
    os.environ["KERAS_BACKEND"] = "torch"
    for reset_after in (True, False):
        cell = "after" if reset_after else "before"
        single = keras_case(f"keras_f32_{cell}", reset_after, "float32")
        with keras_keeps_float64():
            double = keras_case(f"keras_f64_{cell}", reset_after, "float64")
        for key, array in single.items():
            np.testing.assert_allclose(array, double[key], rtol=0, atol=1e-5, err_msg=key)


def keras_keeps_float64():
    """Return a context in which Keras's matmul of float64 stays float64, as on TensorFlow."""
    import keras  # noqa: F401  must be imported first, and with KERAS_BACKEND set
    from keras.src.backend.common import dtypes

    return mock.patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, {"float64": "float64"})


def keras_case(file_name, reset_after, dtype):
    """Run and save one Keras GRU layer; return the arrays."""
    import keras
    import torch

    torch.set_num_threads(1)
    batch, steps, size, hidden = 3, 7, 4, 17
    rng = rng_of(f"keras {reset_after}")
    bound = hidden**-0.5
    params = {
        "kernel": uniform(rng, bound, (size, 3 * hidden), dtype),
        "recurrent_kernel": uniform(rng, bound, (hidden, 3 * hidden), dtype),
        "bias": uniform(rng, bound, (2, 3 * hidden) if reset_after else (3 * hidden,), dtype),
    }
    layer = keras.layers.GRU(hidden, reset_after=reset_after, return_sequences=True, return_state=True, dtype=dtype)
    layer.build((batch, steps, size))
    layer.set_weights(list(params.values()))  # in the order of layer.weights, checked next
    variables = {variable.name: variable.value for variable in layer.weights}
    assert list(variables) == list(params)

    def on_device(array):
        return torch.from_numpy(array).to(variables["kernel"].device)

    x = on_device(normal(rng, (batch, steps, size), dtype)).requires_grad_()
    h0 = on_device(uniform(rng, 1, (batch, hidden), dtype)).requires_grad_()
    dy = on_device(normal(rng, (batch, steps, hidden), dtype))
    dh_n = on_device(normal(rng, (batch, hidden), dtype))
    y, h_n = layer(x, initial_state=h0)
    ((y * dy).sum() + (h_n * dh_n).sum()).backward()

    config = {
        "framework": f"keras {keras.__version__} (torch {torch.__version__.split('+')[0]})",
        "input_size": size,
        "hidden_size": hidden,
        "reset_after": reset_after,
        "dtype": dtype,
    }
    tensors = {f"param.{key}": value for key, value in variables.items()}
    tensors |= {f"grad.{key}": value.grad for key, value in variables.items()}
    tensors |= {"x": x, "h0": h0, "y": y, "h_n": h_n, "dy": dy, "dh_n": dh_n}
    tensors |= {"dx": x.grad, "dh0": h0.grad}
    arrays = {key: tensor.detach().cpu().numpy() for key, tensor in tensors.items()}
    assert all(array.dtype == dtype for array in arrays.values())
    save(file_name, config, arrays)
    return arrays


# ONNX ------------------------------------------------------------------------------------

ONNX_OPSET = 22
ONNX_IR = 10
ONNX_STEPS, ONNX_BATCH, ONNX_INPUT = 7, 4, 3
ONNX_LENGTHS = [4, 7, 1, 6]


def make_onnx():
    """One ONNX GRU node: both cells, all directions; ONNX Runtime and onnx.reference."""
    for linear_before_reset in (0, 1):
        for direction in ("forward", "reverse", "bidirectional"):
            onnx_case(linear_before_reset, direction)
        onnx_case(linear_before_reset, "forward", minimal=True)


def onnx_case(linear_before_reset, direction, *, minimal=False):
    """Run and save one GRU node in both dtypes; `minimal` omits every optional input."""
    hidden = 17 if direction == "bidirectional" else 5
    directions = 2 if direction == "bidirectional" else 1
    name = f"lbr{linear_before_reset}_{direction}" + ("_minimal" if minimal else "")
    outputs = {}
    for tag, dtype in DTYPES.items():
        rng = rng_of(f"onnx {name}")
        bound = hidden**-0.5
        params = {
            "W": uniform(rng, bound, (directions, 3 * hidden, ONNX_INPUT), dtype),
            "R": uniform(rng, bound, (directions, 3 * hidden, hidden), dtype),
        }
        x = normal(rng, (ONNX_STEPS, ONNX_BATCH, ONNX_INPUT), dtype)
        optional = {}
        if not minimal:
            params["B"] = uniform(rng, bound, (directions, 6 * hidden), dtype)
            optional["sequence_lens"] = np.array(ONNX_LENGTHS, np.int32)
            optional["initial_h"] = uniform(rng, 1, (directions, ONNX_BATCH, hidden), dtype)

        attributes = {
            "hidden_size": hidden,
            "direction": direction,
            "linear_before_reset": linear_before_reset,
        }
        model = onnx_model(attributes, params, optional, dtype)
        if dtype == "float32":
            framework, (y, y_h) = run_onnxruntime(model, {"X": x, **optional})
        else:
            framework, (y, y_h) = run_onnx_reference(model, x, **optional)
        outputs[dtype] = y, y_h
        config = {
            "framework": framework,
            "opset": ONNX_OPSET,
            "input_size": ONNX_INPUT,
            **attributes,
            "reset_after": bool(linear_before_reset),
            "dtype": dtype,
        }
        arrays = {"model": np.frombuffer(model.SerializeToString(), np.uint8), "x": x}
        save(f"onnx_{tag}_{name}", config, {**arrays, **params, **optional, "Y": y, "Y_h": y_h})

    for single, double in zip(outputs["float32"], outputs["float64"], strict=True):
        np.testing.assert_allclose(single, double, rtol=0, atol=2e-6)


def onnx_model(attributes, params, optional, dtype):
    """Build the model: X (and the optional inputs) in; W, R, B as initializers; Y, Y_h out."""
    import onnx
    from onnx import helper, numpy_helper

    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    hidden, directions = attributes["hidden_size"], params["W"].shape[0]
    given = {"X", *params, *optional}
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
    inputs = [name if name in given else "" for name in names]
    while not inputs[-1]:
        inputs.pop()
    value_infos = [helper.make_tensor_value_info("X", element, [ONNX_STEPS, ONNX_BATCH, ONNX_INPUT])] + [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in optional.items()
    ]
    graph = helper.make_graph(
        [helper.make_node("GRU", inputs, ["Y", "Y_h"], name="gru", **attributes)],
        "one_gru",
        value_infos,
        [
            helper.make_tensor_value_info("Y", element, [ONNX_STEPS, directions, ONNX_BATCH, hidden]),
            helper.make_tensor_value_info("Y_h", element, [directions, ONNX_BATCH, hidden]),
        ],
        [numpy_helper.from_array(array, name) for name, array in params.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET)],
        ir_version=ONNX_IR,
        producer_name="make_goldens",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run_onnxruntime(model, feeds):
    """Run the model on ONNX Runtime's CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return f"onnxruntime {onnxruntime.__version__}", session.run(["Y", "Y_h"], feeds)


def run_onnx_reference(model, x, sequence_lens=None, initial_h=None):
    """Run onnx.reference on each sequence by itself, cut to its length (it ignores lengths)."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    steps, batch, _ = x.shape
    lengths = [steps] * batch if sequence_lens is None else sequence_lens
    columns, states = [], []
    for n, length in enumerate(lengths):
        feeds = {"X": x[:length, n : n + 1]}
        if initial_h is not None:
            feeds["initial_h"] = initial_h[:, n : n + 1]
            feeds["sequence_lens"] = np.array([length], np.int32)
        y, y_h = evaluator.run(["Y", "Y_h"], feeds)
        columns.append(np.pad(y, [(0, steps - length), (0, 0), (0, 0), (0, 0)]))
        states.append(y_h)
    outputs = np.concatenate(columns, axis=2), np.concatenate(states, axis=1)
    assert all(array.dtype == x.dtype for array in outputs)
    return f"onnx.reference {onnx.__version__}", outputs


def main():
    """Make the files of the frameworks named on the command line; of all by default."""
    makers = {"torch": make_torch, "keras": make_keras, "onnx": make_onnx}
    parser = argparse.ArgumentParser(description="Make the golden files.")
    parser.add_argument("framework", nargs="*", help="torch, keras, onnx (default: all)")
    chosen = parser.parse_args().framework or list(makers)
    if unknown := set(chosen) - set(makers):
        parser.error(f"framework: expected {', '.join(makers)}, got {', '.join(unknown)}")
    for framework in chosen:
        makers[framework]()


if __name__ == "__main__":
    main()
