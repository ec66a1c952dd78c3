"""Sizes and switches of a GRU, validated one by one and together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._validation.scalars import as_bool, as_int, as_precision, as_probability

if TYPE_CHECKING:
    import numpy as np


class Settings:
    """The sizes and switches of a GRU; see `rgru.GRU` for their meaning."""

    def __init__(
        self,
        input_size: object,
        hidden_size: object,
        num_layers: object,
        *,
        bidirectional: object,
        reset_after: object,
        bias: object,
        dropout: object,
        dtype: object,
    ) -> None:
        self._sizes: dict[str, Any] = {  # as the core takes them
            "input_size": as_int("input_size", input_size, 1),
            "hidden_size": as_int("hidden_size", hidden_size, 1),
            "num_layers": as_int("num_layers", num_layers, 1),
            "bidirectional": as_bool("bidirectional", bidirectional),
            "reset_after": as_bool("reset_after", reset_after),
            "bias": as_bool("bias", bias),
        }
        self._dropout = as_probability("dropout", dropout)
        self._dtype = as_precision("dtype", dtype)
        if self._dropout and self.num_layers == 1:
            raise ValueError(f"dropout: expected 0 with num_layers=1 (it acts between layers), got {self._dropout}")

    @property
    def input_size(self) -> int:
        """I, the features of one step."""
        return int(self._sizes["input_size"])

    @property
    def hidden_size(self) -> int:
        """H, the units of each layer and direction."""
        return int(self._sizes["hidden_size"])

    @property
    def num_layers(self) -> int:
        """L, the number of layers."""
        return int(self._sizes["num_layers"])

    @property
    def bidirectional(self) -> bool:
        """Whether each layer also runs over the sequences in reverse."""
        return bool(self._sizes["bidirectional"])

    @property
    def reset_after(self) -> bool:
        """Whether the reset gate applies after the recurrent product."""
        return bool(self._sizes["reset_after"])

    @property
    def bias(self) -> bool:
        """Whether the cells have biases."""
        return bool(self._sizes["bias"])

    @property
    def dropout(self) -> float:
        """The fraction of outputs dropped between layers by `rgru.GRU.record`."""
        return self._dropout

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of parameters, inputs and outputs: float32 or float64."""
        return self._dtype

    @property
    def _config(self) -> dict[str, Any]:
        """All settings, as JSON values."""
        return {**self._sizes, "dropout": self._dropout, "dtype": self._dtype.name}

    def __repr__(self) -> str:
        usual: dict[str, object] = {"num_layers": 1, "bidirectional": False, "reset_after": False, "bias": True}
        usual |= {"dropout": 0.0, "dtype": "float32"}
        words = [str(self.input_size), str(self.hidden_size)]
        words += [f"{name}={self._config[name]!r}" for name in usual if self._config[name] != usual[name]]
        return f"{type(self).__name__}({', '.join(words)})"
