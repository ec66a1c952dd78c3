"""What predictions are called, on every road from a model to a table: the kinds of output, and what errors become.

One result is asked for by ``output=kind``, columns of a table by ``outputs={name: kind}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from rgru.estimators import GRUClassifier, GRURegressor

    Kinds: TypeAlias = Mapping[str, "Kind"]

Kind: TypeAlias = Literal["last", "every", "label", "probability", "value"]
"""Of a GRU "last", its states after each sequence's last step, or "every", those of all steps; of a classifier "label"
or "probability"; of a regressor "value"."""

OnError: TypeAlias = Literal["raise", "null"]
"""What becomes of rows that cannot be sequences of the model: an error, or a result that is null."""


def kinds_of(model: GRU | GRUClassifier | GRURegressor) -> tuple[Kind, ...]:
    """Return the kinds of output that a model has, its default first.

    Raises
    ------
    TypeError
        If it is no model.
    """
    if isinstance(model, GRU):
        return "last", "every"
    from rgru.estimators import GRUClassifier, GRURegressor

    if isinstance(model, GRUClassifier):
        return "label", "probability"
    if isinstance(model, GRURegressor):
        return ("value",)
    raise TypeError(f"model: expected a GRU, GRUClassifier or GRURegressor, got {type(model).__name__}")


def as_kind(value: object, model: GRU | GRUClassifier | GRURegressor) -> Kind:
    """Return the argument `output` as a kind that the model has; None stands for the model's default.

    Raises
    ------
    TypeError
        If the model is none.
    ValueError
        If it has no such kind.
    """
    return kinds_of(model)[0] if value is None else _kind("output", value, model)


def as_outputs(name: str, value: Any, model: GRU | GRUClassifier | GRURegressor) -> dict[str, Kind]:
    """Return the names of new columns with their kinds; None stands for ``{"prediction": the model's default}``.

    Raises
    ------
    TypeError
        If `value` is no mapping of strings, or the model none.
    ValueError
        If it is empty, or the model has no such kind.
    """
    if value is None:
        return {"prediction": kinds_of(model)[0]}
    if not isinstance(value, Mapping) or not all(isinstance(column, str) for column in value):
        raise TypeError(f"{name}: expected a dict of column names and kinds of output, got {value!r}")
    if not value:
        raise ValueError(f"{name}: expected at least one column, got none")
    return {column: _kind(name, kind, model, f" for {column!r}") for column, kind in value.items()}


def _kind(name: str, value: object, model: GRU | GRUClassifier | GRURegressor, place: str = "") -> Kind:
    kinds = kinds_of(model)
    for kind in kinds:
        if value == kind:
            return kind
    expected = f"{' or '.join(map(repr, kinds))} of a {type(model).__name__}"
    raise ValueError(f"{name}: expected {expected}{place}, got {value!r}")
