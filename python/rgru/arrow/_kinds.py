"""The kinds of output of models, and the treatment of invalid rows, shared by all predictions over tables.

``output=kind`` selects one result, ``outputs={name: kind}`` columns of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model

    Kinds: TypeAlias = Mapping[str, "Kind"]

Kind: TypeAlias = Literal["last", "every", "label", "probability", "value"]
"""For a GRU, "last": the states after each sequence's last step, or "every": the states of all steps; for a classifier,
"label" or "probability"; for a regressor or a `rgru.Model`, "value"."""

OnError: TypeAlias = Literal["raise", "null"]
"""The treatment of rows that are not valid sequences for the model: an error, or a result that is null."""


def kinds_of(model: GRU | Model | GRUClassifier | GRURegressor) -> tuple[Kind, ...]:
    """Return the kinds of output that a model has, its default first.

    Raises
    ------
    TypeError
        If `model` is not a model of rgru.
    """
    if isinstance(model, GRU):
        return "last", "every"
    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model

    if isinstance(model, GRUClassifier):
        return "label", "probability"
    if isinstance(model, (GRURegressor, Model)):
        return ("value",)
    raise TypeError(f"model: expected a GRU, Model, GRUClassifier or GRURegressor, got {type(model).__name__}")


def as_kind(value: object, model: GRU | Model | GRUClassifier | GRURegressor) -> Kind:
    """Validate the argument `output`, and return it as a kind of the model; None is the model's default.

    Raises
    ------
    TypeError
        If `model` is not a model of rgru.
    ValueError
        If it has no such kind.
    """
    return kinds_of(model)[0] if value is None else _kind("output", value, model)


def as_outputs(name: str, value: Any, model: GRU | Model | GRUClassifier | GRURegressor) -> dict[str, Kind]:
    """Validate the names and kinds of new columns; None is ``{"prediction": the model's default}``.

    Raises
    ------
    TypeError
        If `value` is not a mapping of strings, or `model` not a model of rgru.
    ValueError
        If `value` is empty, or the model has no such kind.
    """
    if value is None:
        return {"prediction": kinds_of(model)[0]}
    if not isinstance(value, Mapping) or not all(isinstance(column, str) for column in value):
        raise TypeError(f"{name}: expected a dict of column names and kinds of output, got {value!r}")
    if not value:
        raise ValueError(f"{name}: expected at least one column, got none")
    return {column: _kind(name, kind, model, f" for {column!r}") for column, kind in value.items()}


def _kind(name: str, value: object, model: GRU | Model | GRUClassifier | GRURegressor, place: str = "") -> Kind:
    kinds = kinds_of(model)
    for kind in kinds:
        if value == kind:
            return kind
    expected = f"{' or '.join(map(repr, kinds))} of a {type(model).__name__}"
    raise ValueError(f"{name}: expected {expected}{place}, got {value!r}")
