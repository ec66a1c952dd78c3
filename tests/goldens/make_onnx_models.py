"""Make the golden files of whole ONNX models: what exporters write, and what the frameworks compute.

Run with Python 3.11 on the CPU, in an environment of its own that holds exactly::

    pip install torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 keras==3.15.1 numpy==2.4.6
    python tests/goldens/make_onnx_models.py

Each model is two files in `onnx_models`: the ``.onnx`` as the exporter wrote it, except for the stack traces in its
metadata, and an ``.npz`` with its inputs
``in.{name}`` and outputs ``out.{name}``. The batch and the number of steps of the inputs are others than those of the
arrays that the exporter saw. Nothing here comes from rgru.

PyTorch's models are exported twice, by both exporters (``script``: TorchScript, ``dynamo``: torch.export).
Keras exports through PyTorch here, and writes the steps of a GRU one by one, for a fixed number of them. Through
TensorFlow 2.21 and tf2onnx 1.17 it writes a Loop. Neither has the operator GRU.
"""

import os
import warnings
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch

torch.manual_seed(0)
FOLDER = Path(__file__).parent / "onnx_models"
EXPORTERS = ("script", "dynamo")


class Layers(torch.nn.Module):
    """Two layers of two directions, batch first, with a dense layer."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(3, 4, 2, bidirectional=True, batch_first=True)
        self.out = torch.nn.Linear(8, 2)

    def forward(self, x):
        y, h_n = self.gru(x)
        return self.out(y), h_n


class States(torch.nn.Module):
    """One layer, time first, with initial states."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(3, 4)

    def forward(self, x, h0):
        return self.gru(x, h0)


class Words(torch.nn.Module):
    """An embedding, two layers, and a dense layer after the last step."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 5)
        self.encoder = torch.nn.GRU(5, 4, 2, batch_first=True, bias=False)
        self.out = torch.nn.Linear(4, 3)

    def forward(self, ids):
        return (torch.softmax(self.out(self.encoder(self.embedding(ids))[0][:, -1]), -1),)


class Sounds(torch.nn.Module):
    """A convolution, and two GRUs with a residual connection between them."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(3, 4, 3, padding=1)
        self.first = torch.nn.GRU(4, 4, batch_first=True)
        self.second = torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        x = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x = x + self.first(x)[0]
        return (torch.tanh(self.second(x)[0]).mean(1),)


class Packed(torch.nn.Module):
    """Sequences of different lengths."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(3, 4, bidirectional=True, batch_first=True)

    def forward(self, x, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        y, h_n = self.gru(packed)
        return torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], h_n


def normal(*shape):
    return torch.randn(*shape)


MODELS = {  # name -> (module, what the exporter sees, inputs, open axes of each, names of outputs, exporters)
    "layers": (Layers, (normal(2, 5, 3),), (normal(3, 7, 3),), [(0, 1)], ["y", "h_n"], EXPORTERS),
    "states": (
        States,
        (normal(5, 2, 3), normal(1, 2, 4)),
        (normal(7, 3, 3), normal(1, 3, 4)),
        [(1, 0), (1,)],
        ["y", "h_n"],
        EXPORTERS,
    ),
    "words": (
        Words,
        (torch.randint(20, (2, 5)),),
        (torch.randint(20, (3, 7)),),
        [(0, 1)],
        ["y"],
        EXPORTERS,
    ),
    "sounds": (Sounds, (normal(2, 5, 3),), (normal(3, 7, 3),), [(0, 1)], ["y"], EXPORTERS),
    "packed": (
        Packed,
        (normal(2, 5, 3), torch.tensor([5, 3])),
        (normal(3, 7, 3), torch.tensor([7, 4, 1])),
        [(0, 1), (0,)],
        ["y", "h_n"],
        ("script",),  # torch.export has no packed sequences
    ),
}
INPUTS = {"states": ["x", "h0"], "packed": ["x", "lengths"]}


def make_torch(name):
    """Export one module by its exporters."""
    kind, seen, given, axes, outputs, exporters = MODELS[name]
    module = kind().eval()
    with torch.inference_mode():
        expected = module(*given)
    names = INPUTS.get(name, ["x"])
    for exporter in exporters:
        path = FOLDER / f"torch_{exporter}_{name}.onnx"
        if exporter == "script":
            open_axes = [dict(zip(some, ("batch", "time"), strict=False)) for some in axes]
            options = {"dynamo": False, "dynamic_axes": dict(zip(names, open_axes, strict=True))}
        else:
            batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
            shapes = tuple(dict(zip(some, (batch, time), strict=False)) for some in axes)
            options = {"dynamo": True, "dynamic_shapes": shapes, "external_data": False, "verbose": False}
        torch.onnx.export(module, seen, path, input_names=names, output_names=outputs, **options)
        save(path, dict(zip(names, given, strict=True)), dict(zip(outputs, expected, strict=True)))


def make_keras():
    """Export a layer of Keras with a dense layer."""
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((3, 3))
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.GRU(4)(x)))
    given = np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32)
    expected = torch.as_tensor(keras.ops.convert_to_numpy(model(given)))
    path = FOLDER / "keras.onnx"
    model.export(path, format="onnx", verbose=False)
    import onnx

    exported = onnx.load(path).graph
    save(path, {exported.input[0].name: torch.from_numpy(given)}, {exported.output[0].name: expected})


def save(path, inputs, outputs):
    """Write the arrays of a model, remove the metadata of its nodes, and print the sizes of both files."""
    import onnx

    model = onnx.load(path)
    for one in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del one.metadata_props[:]
        one.doc_string = ""
    for one in model.graph.initializer:
        del one.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    onnx.save(model, path)
    arrays = {f"in.{name}": one.numpy() for name, one in inputs.items()}
    arrays |= {f"out.{name}": one.numpy() for name, one in outputs.items()}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    print(f"{path.name:32} {path.stat().st_size:7} bytes, {path.with_suffix('.npz').stat().st_size} of arrays")


def main():
    """Make all models."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        make_torch(name)
    make_keras()


if __name__ == "__main__":
    main()
