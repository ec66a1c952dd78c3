"""``rgru info``: describe this installation, or a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rgru
from rgru._cli.errors import explained
from rgru._data.column_names import quoted
from rgru._files.model_file import read, read_digest
from rgru.nn._settings import OPTIONS

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "info",
        help="describe this installation, or a model file",
        description="Without FILE: version, instruction set, threads and GPUs. With FILE: the model that it holds.",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="file that save() or `rgru fit` has written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    for name, value in (installation() if args.file is None else model_card(args.file)).items():
        print(f"{name:<16} {value}")


def installation() -> dict[str, str]:
    """Return the version, instruction set, threads and GPUs of this installation."""
    info: Any = rgru.info()
    return {
        "version": info["version"],
        "instruction set": f"{info['isa']} (of {', '.join(info['available_isas'])})",
        "threads": str(info["num_threads"]),
        "GPUs": ", ".join(info["gpus"]) or f"none: {_why_no_gpu()}",
    }


def _why_no_gpu() -> str:
    from rgru._cuda.availability import find_cupy

    try:
        find_cupy(0)
    except (ImportError, RuntimeError) as error:
        return str(error)
    return "none is in use"  # one has appeared since


def model_card(path: str) -> dict[str, str]:
    """Describe the model in a file.

    Raises
    ------
    CommandError
        If the file cannot be read, or is not a file of rgru.
    """
    with explained(path):
        rgru.load(path)  # refuses a damaged file
        kind, config, tensors = read(path)
        card = {"kind": kind, **_layers(kind, config)}
        card["parameters"] = f"{sum(t.size for name, t in tensors.items() if not name.endswith(('.mean', '.scale'))):,}"
        if "history" in config:
            card |= _estimator(config)
        card["digest"] = read_digest(path) or "none: the file is of an older version"
    return card


def _layers(kind: str, config: dict[str, Any]) -> dict[str, str]:
    if kind == "Model":
        described = [dict(layer) for layer in config["layers"]]
        return {f"layer {i}": _layer(layer.pop("layer"), layer) for i, layer in enumerate(described)}
    return {"cell": _cell(config if kind == "GRU" else config["gru"])}


def _layer(kind: str, config: dict[str, Any]) -> str:
    return _cell(config) if kind == "GRU" else ", ".join([kind, *(f"{name}={value}" for name, value in config.items())])


def _cell(gru: dict[str, Any]) -> str:
    layers = f"{gru['num_layers']} layer" + ("s" if gru["num_layers"] > 1 else "")
    return ", ".join(
        [
            "reset-after GRU" if gru["reset_after"] else "reset-before GRU",
            f"{gru['input_size']} features",
            f"{layers} of {gru['hidden_size']} units" + (" in each direction" if gru["bidirectional"] else ""),
            *(f"{name}={gru[name]!r}" for name in OPTIONS if name in gru),
            gru["dtype"],
        ]
    )


def _estimator(config: dict[str, Any]) -> dict[str, str]:
    card = {"pooling": config["pooling"]}
    if config.get("feature_names"):
        card["features"] = ", ".join(map(repr, config["feature_names"]))
    if "columns" in config:
        names = config["columns"]["sequence"]
        names = [names] if isinstance(names, str) else names
        card["trained on"] = f"{quoted(names)}, to predict {config['columns']['target']!r}"
    if "classes" in config:
        classes = config["classes"]["values"]
        card["classes"] = f"{len(classes)}: {', '.join(map(str, classes))}"
    else:
        card["targets"] = str(config["output_size"])
    history = config["history"]
    card["epochs"] = str(len(history["train_loss"]))
    if history["validation_loss"]:
        best = history["best_epoch"]
        score = "accuracy" if "classes" in config else "R^2"
        loss, value = history["validation_loss"][best], history["validation_score"][best]
        card["validation"] = f"epoch {best + 1}: loss {loss:.4g}, {score} {value:.4f}"
    return card
