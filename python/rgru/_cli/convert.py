"""``rgru convert``: models of other frameworks to files of rgru, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from rgru._cli.errors import CommandError, explained
from rgru._cli.files import check_output
from rgru._files.atomic_write import whole_file
from rgru._files.model_file import FORMAT, opened
from rgru._optional_imports import needed
from rgru.convert._array_file import read_arrays
from rgru.convert._torch_names import is_parameter

if TYPE_CHECKING:
    import argparse

_TORCH, _KERAS = (".pt", ".pth", ".bin", ".ckpt", ".npz"), (".keras", ".h5", ".hdf5")
_LISTED = 5
"""Names that are listed."""
_OUT = (".safetensors", ".onnx", ".keras", ".h5", ".pt", ".npz")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "convert",
        help="convert a model from and to PyTorch, Keras and ONNX",
        description="Read a model from IN, say what was found, and write it to OUT. The endings tell the formats: "
        ".safetensors (of rgru, or a state dict of PyTorch), .pt, .pth, .bin, .ckpt and .npz (PyTorch), .keras, .h5 "
        "and .hdf5 (Keras), .onnx. Of a state dict a GRU is read alone, and other arrays are listed. OUT as "
        ".safetensors is a file of rgru; as .onnx, .keras and .h5 a model, as .pt or .npz a state dict of a GRU alone. "
        "Nothing in IN is executed.",
    )
    parser.add_argument("input", metavar="IN", help="model file to read")
    parser.add_argument("output", metavar="OUT", help="model file to write")
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="of the GRU in IN: its name in a state dict (encoder.gru), of its layer or its node; without it a file "
        "of Keras or ONNX is a whole model, and others must have one GRU",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if Path(args.output).suffix.lower() not in _OUT:
        raise CommandError(f"OUT: expected an ending {', '.join(_OUT)}, got {args.output}")
    check_output(args.output, "OUT", inputs=(args.input,))
    with explained(args.input):
        model, left = _read(args.input, args.name)
    with explained(args.output):
        _write(model, args.output)
    print(f"{args.input}: {model!r}")
    if left:
        more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
        print(f"not read, since they are no parameters of a GRU: {', '.join(left[:_LISTED])}{more}")
    print(f"written to {args.output}")


def _read(path: str, name: str | None) -> tuple[Any, list[str]]:
    """Return the model of a file, and the names of arrays that are none of a GRU's."""
    ending = Path(path).suffix.lower()
    if ending == ".safetensors":
        with opened(path) as file:
            ours = (file.metadata() or {}).get("format") == FORMAT
        if ours and name is not None:
            raise ValueError(f"--name: expected none for a file of rgru, got {name!r}")
        return (rgru.load(path), []) if ours else _read_torch(path, name)
    if ending in _TORCH:
        return _read_torch(path, name)
    if ending in _KERAS:
        return rgru.from_keras(path, name), []
    if ending == ".onnx":
        return rgru.from_onnx(path, name), []
    raise ValueError(f"expected an ending .safetensors, {', '.join((*_TORCH, *_KERAS))} or .onnx")


def _read_torch(path: str, name: str | None) -> tuple[Any, list[str]]:
    model = rgru.from_torch(path, name or "")
    return model, [one for one in read_arrays(path, lambda _: False) if not is_parameter(one)]


def _write(model: Any, path: str) -> None:
    ending = Path(path).suffix.lower()
    if ending == ".safetensors":
        model.save(path)
        return
    if not isinstance(model, (rgru.GRU, rgru.Model)):
        raise ValueError(f"expected a GRU or a Model for {ending}, got a {type(model).__name__}")
    if ending == ".onnx":
        model.to_onnx(path)
    elif ending in (".keras", ".h5"):
        from rgru.convert.keras import to_keras

        with whole_file(path) as draft:
            # Keras chooses the format by the ending.
            named = draft.with_name(draft.name + ending)
            try:
                to_keras(model).save(named)
                named.replace(draft)
            finally:
                named.unlink(missing_ok=True)
    elif isinstance(model, rgru.Model):
        raise ValueError(f"expected a GRU alone for {ending}, got a Model; .safetensors, .keras and .onnx take both")
    elif ending == ".npz":
        from rgru.convert.torch import to_state_dict

        with whole_file(path) as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **to_state_dict(model))
    else:
        torch = needed("torch", "torch")
        with whole_file(path) as draft:
            torch.save(model.to_torch().state_dict(), draft)
