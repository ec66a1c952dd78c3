"""What a model's file knows about the model, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._files.model_file import read, read_digest

if TYPE_CHECKING:
    import os

_SIZES = {"input_size", "hidden_size", "num_layers", "bidirectional", "reset_after", "bias", "dropout", "dtype"}
"""What `_cell` writes in words of its own, or is of no interest."""


def described(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return a model's properties by name: kind, layers, parameters, training, digest.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or is not a whole file of rgru.
    """
    kind, config, tensors = read(path)
    count = sum(tensor.size for name, tensor in tensors.items() if not name.endswith((".mean", ".scale")))
    found = {"kind": kind, **_layers(kind, config), "parameters": f"{count:,}"}
    if "history" in config:
        found |= _estimator(config)
    return {**found, "digest": read_digest(path) or "none: the file is of an older version"}


def card(path: str | os.PathLike[str]) -> str:
    """Return a model card in Markdown, with the metadata that the Hugging Face Hub reads."""
    found = described(path)
    rows = "\n".join(f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in found.items())
    return f"""---
library_name: rgru
tags: [gru, rgru]
---

# A {found["kind"]} of rgru

| | |
|---|---|
{rows}

```python
import rgru

model = rgru.{found["kind"]}.from_pretrained(".")  # this folder, or the name of its repository
```
"""


def _layers(kind: str, config: dict[str, Any]) -> dict[str, str]:
    if kind == "Model":
        layers = [dict(layer) for layer in config["layers"]]
        return {f"layer {i}": _layer(layer.pop("layer"), layer) for i, layer in enumerate(layers)}
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
            *(f"{name}={value!r}" for name, value in gru.items() if name not in _SIZES),
            gru["dtype"],
        ]
    )


def _estimator(config: dict[str, Any]) -> dict[str, str]:
    found = {"pooling": config["pooling"]}
    if config.get("feature_names"):
        found["features"] = ", ".join(map(repr, config["feature_names"]))
    if "columns" in config:
        names = config["columns"]["sequence"]
        names = [names] if isinstance(names, str) else names
        word = "columns" if len(names) > 1 else "column"
        found["trained on"] = f"{word} {', '.join(map(repr, names))}, to predict {config['columns']['target']!r}"
    if "classes" in config:
        classes = config["classes"]["values"]
        found["classes"] = f"{len(classes)}: {', '.join(map(str, classes))}"
    else:
        found["targets"] = str(config["output_size"])
    history = config["history"]
    found["epochs"] = str(len(history["train_loss"]))
    if history["validation_loss"]:
        best = history["best_epoch"]
        score = "accuracy" if "classes" in config else "R^2"
        loss, value = history["validation_loss"][best], history["validation_score"][best]
        found["validation"] = f"epoch {best + 1}: loss {loss:.4g}, {score} {value:.4f}"
    return found
