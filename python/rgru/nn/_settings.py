"""Sizes and switches of a GRU, validated one by one and together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rgru._validation.activations import as_activation
from rgru._validation.layer_norm import as_layer_norm
from rgru._validation.scalars import as_bool, as_choice, as_clip, as_int, as_precision, as_probability

if TYPE_CHECKING:
    import numpy as np

    from rgru._validation.activations import Activation

MERGES = ("concat", "sum", "mean", "product")

OPTIONS: dict[str, object] = {
    "gate_activation": "sigmoid",
    "activation": "tanh",
    "clip": None,
    "zoneout": 0.0,
    "recurrent_dropout": 0.0,
    "state_clip": None,
    "layer_norm": None,
    "reverse": False,
    "merge": "concat",
    "learned_h0": False,
    "vocabulary": None,
    "embedding_size": None,
}
"""Options that files and `repr` leave out where they have these values."""


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
        gate_activation: object = "sigmoid",
        activation: object = "tanh",
        clip: object = None,
        zoneout: object = 0.0,
        recurrent_dropout: object = 0.0,
        state_clip: object = None,
        layer_norm: object = None,
        reverse: object = False,
        merge: object = "concat",
        learned_h0: object = False,
        vocabulary: object = None,
        embedding_size: object = None,
    ) -> None:
        self._dtype = as_precision("dtype", dtype)
        real = self._dtype.name
        self._sizes: dict[str, Any] = {  # as the core takes them
            "input_size": as_int("input_size", input_size, 1),
            "hidden_size": as_int("hidden_size", hidden_size, 1),
            "num_layers": as_int("num_layers", num_layers, 1),
            "bidirectional": as_bool("bidirectional", bidirectional),
            "reset_after": as_bool("reset_after", reset_after),
            "bias": as_bool("bias", bias),
            "gate_activation": as_activation("gate_activation", gate_activation, gate=True, dtype=real),
            "activation": as_activation("activation", activation, gate=False, dtype=real),
            "clip": as_clip("clip", clip, real),
            "zoneout": as_probability("zoneout", zoneout),
            "recurrent_dropout": as_probability("recurrent_dropout", recurrent_dropout),
            "state_clip": as_clip("state_clip", state_clip, real),
            "layer_norm": as_layer_norm("layer_norm", layer_norm, real),
            "reverse": as_bool("reverse", reverse),
            "merge": as_choice("merge", merge, MERGES),
            "learned_h0": as_bool("learned_h0", learned_h0),
            "vocabulary": None if vocabulary is None else as_int("vocabulary", vocabulary, 1, 2**24),
            "embedding_size": None if embedding_size is None else as_int("embedding_size", embedding_size, 1),
        }
        self._dropout = as_probability("dropout", dropout)
        if self._dropout and self.num_layers == 1:
            raise ValueError(f"dropout: expected 0 with num_layers=1 (it acts between layers), got {self._dropout}")
        if self.layer_norm is not None and not self.reset_after:
            raise ValueError(f"layer_norm: expected None without reset_after=True, got {self.layer_norm!r}")
        if self.bidirectional and self.reverse:
            raise ValueError("reverse: expected False with bidirectional=True, which has both directions, got True")
        if not self.bidirectional and self.merge != "concat":
            raise ValueError(f"merge: expected 'concat' without bidirectional=True, got {self.merge!r}")
        if (self.vocabulary is None) != (self.embedding_size is None):
            got = f"vocabulary={self.vocabulary}, embedding_size={self.embedding_size}"
            raise ValueError(f"vocabulary, embedding_size: expected both or neither, got {got}")

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
    def gate_activation(self) -> Activation:
        """The activation of both gates: its name, or a tuple of its name and parameters."""
        return self._sizes["gate_activation"]  # type: ignore[no-any-return]

    @property
    def activation(self) -> Activation:
        """The activation of the candidate: its name, or a tuple of its name and parameters."""
        return self._sizes["activation"]  # type: ignore[no-any-return]

    @property
    def clip(self) -> float | None:
        """The bound of the inputs of all activations, if they are clipped."""
        return self._sizes["clip"]  # type: ignore[no-any-return]

    @property
    def zoneout(self) -> float:
        """The rate of zoneout."""
        return float(self._sizes["zoneout"])

    @property
    def recurrent_dropout(self) -> float:
        """The fraction of units dropped in the recurrent products by `rgru.GRU.record`."""
        return float(self._sizes["recurrent_dropout"])

    @property
    def state_clip(self) -> float | None:
        """The bound of the states, if they are clipped."""
        return self._sizes["state_clip"]  # type: ignore[no-any-return]

    @property
    def layer_norm(self) -> tuple[str, float] | None:
        """The form of layer normalisation and its epsilon, or None."""
        return cast("tuple[str, float] | None", self._sizes["layer_norm"])

    @property
    def reverse(self) -> bool:
        """Whether the layers run from the last step to the first."""
        return bool(self._sizes["reverse"])

    @property
    def merge(self) -> str:
        """How the outputs of both directions become one."""
        return str(self._sizes["merge"])

    @property
    def learned_h0(self) -> bool:
        """Whether the initial states are parameters."""
        return bool(self._sizes["learned_h0"])

    @property
    def vocabulary(self) -> int | None:
        """V, the number of ids, if the first feature is an id."""
        return self._sizes["vocabulary"]  # type: ignore[no-any-return]

    @property
    def embedding_size(self) -> int | None:
        """E, the features of the embedding of an id."""
        return self._sizes["embedding_size"]  # type: ignore[no-any-return]

    @property
    def _core_sizes(self) -> dict[str, Any]:
        """The settings as the core takes them: with the features of an embedding in the place of the id."""
        sizes = {**self._sizes, "input_size": self.input_size - 1 + (self.embedding_size or 1)}
        del sizes["vocabulary"], sizes["embedding_size"]
        return sizes

    @property
    def _meaning(self) -> dict[str, Any]:
        """The settings that parameters belong to. Bounds, initial states and masks may be added to trained ones."""
        others = {"clip", "state_clip", "learned_h0", "merge", "zoneout", "recurrent_dropout"}
        return {name: value for name, value in self._sizes.items() if name not in others}

    @property
    def _embedding_numbers(self) -> int:
        """The number of parameters of the embedding."""
        return (self.vocabulary or 0) * (self.embedding_size or 0)

    @property
    def output_size(self) -> int:
        """The features of one output: D*H, or H if two directions are merged to their sum, mean or product."""
        return self.hidden_size * (2 if self.bidirectional and self.merge == "concat" else 1)

    @property
    def dropout(self) -> float:
        """The fraction of outputs dropped between layers by `rgru.GRU.record`."""
        return self._dropout

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of parameters, inputs and outputs: float32 or float64."""
        return self._dtype

    def _check_only(self, form: str, *carried: str) -> None:
        """Refuse options that another form of the GRU cannot carry, and that matter outside of training.

        Parameters
        ----------
        form : str
            What cannot carry them, for the error.
        *carried : str
            The options that it can.

        Raises
        ------
        ValueError
            If another option has not its usual value.
        """
        for name, usual in OPTIONS.items():
            if name not in (*carried, "recurrent_dropout") and self._sizes[name] != usual:
                raise ValueError(
                    f"gru: expected {name}={usual!r}, since {form} has no such option, got {self._sizes[name]!r}"
                )

    @property
    def _config(self) -> dict[str, Any]:
        """All settings, as JSON values."""
        sizes = {name: value for name, value in self._sizes.items() if value != OPTIONS.get(name, ...)}
        sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in sizes.items()}
        return {**sizes, "dropout": self._dropout, "dtype": self._dtype.name}

    def __repr__(self) -> str:
        usual: dict[str, object] = {"num_layers": 1, "bidirectional": False, "reset_after": False, "bias": True}
        usual |= {"dropout": 0.0, "dtype": "float32"}
        words = [str(self.input_size), str(self.hidden_size)]
        shown = {**self._sizes, "dropout": self._dropout, "dtype": self._dtype.name}
        words += [f"{name}={shown[name]!r}" for name, value in (usual | OPTIONS).items() if shown[name] != value]
        return f"{type(self).__name__}({', '.join(words)})"
