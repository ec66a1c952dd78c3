"""Hyper-parameters as options of the command line."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rgru._cli.errors import CommandError, is_bad_input, one_line
from rgru.estimators import GRUClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text == "none" else kind(text)

    convert.__name__ = f"{kind.__name__} or none"  # argparse names it in errors
    return convert


# Option, its parameter of the estimators, type (None: a switch), help.
_OPTIONS: tuple[tuple[str, str, Callable[[str], Any] | None, str], ...] = (
    ("--hidden-size", "hidden_size", int, "units of each layer and direction"),
    ("--num-layers", "num_layers", int, "layers"),
    ("--bidirectional", "bidirectional", None, "also read the sequences backwards"),
    ("--reset-after", "reset_after", None, "the cell of PyTorch and cuDNN"),
    ("--dropout", "dropout", float, "share of features hidden in training"),
    ("--pooling", "pooling", str, "last, mean, or, to regress a list of targets, every"),
    ("--standardize", "standardize", None, "shift and scale each feature to mean 0 and deviation 1"),
    ("--learning-rate", "learning_rate", float, "Adam's initial step size, which falls to 0"),
    ("--batch-size", "batch_size", int, "sequences per step of Adam"),
    ("--max-epochs", "max_epochs", int, "maximum number of passes over the data"),
    ("--early-stopping", "early_stopping", None, "hold out rows, and keep the epoch with their lowest loss"),
    ("--validation-fraction", "validation_fraction", float, "share of the rows to hold out"),
    ("--patience", "patience", _or_none(int), "stop after this number of epochs without a lower loss, or none"),
    ("--max-grad-norm", "max_grad_norm", _or_none(float), "largest norm of the gradients of a batch, or none"),
    ("--dtype", "dtype", str, "float32 or float64"),
    ("--seed", "random_state", int, "makes the training reproducible"),
)

# Likewise, for the estimators' `gru_options`.
_GRU_OPTIONS: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("--vocabulary", "vocabulary", int, "number of ids, if the first feature of a step is one"),
    ("--embedding-size", "embedding_size", int, "features of an id, which the training learns"),
)


def add_hyper_parameters(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those that are not given are absent from the namespace."""
    group = parser.add_argument_group("hyper-parameters")
    defaults = GRUClassifier._defaults()
    for option, name, kind, text in _OPTIONS:
        arguments: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if kind is None else {"type": kind}
        if kind is not None:
            arguments["metavar"] = "X"
        shown = str(defaults[name]).replace("None", "none")
        arguments["help"] = f"{text} (default: {shown})"
        group.add_argument(option, dest=name, default=argparse.SUPPRESS, **arguments)
    for option, name, given_as, text in _GRU_OPTIONS:
        words = f"{text} (default: none)"
        group.add_argument(option, dest=name, default=argparse.SUPPRESS, type=given_as, metavar="X", help=words)


def given_hyper_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """Return the given options under the names of the estimators' parameters.

    Raises
    ------
    CommandError
        If a given option has no effect without another.
    """
    given = vars(args)
    for option, name, _, _ in _OPTIONS:
        if name in ("validation_fraction", "patience") and name in given and not given.get("early_stopping"):
            raise CommandError(f"{option}: expected --early-stopping too, without which it has no effect")
    parameters = {name: given[name] for _, name, _, _ in _OPTIONS if name in given}
    gru_options = {name: given[name] for _, name, _, _ in _GRU_OPTIONS if name in given}
    if len(gru_options) == 1:
        raise CommandError(f"{', '.join(option for option, *_ in _GRU_OPTIONS)}: expected both or neither, got one")
    return parameters | ({"gru_options": gru_options} if gru_options else {})


@contextmanager
def options_named() -> Iterator[None]:
    """Convert errors of the block about a hyper-parameter to a CommandError about its option."""
    try:
        yield
    except Exception as error:
        names, _, text = one_line(error).partition(": ")
        by_name = {parameter: option for option, parameter, _, _ in (*_OPTIONS, *_GRU_OPTIONS)}
        options = ", ".join(by_name[name] for name in names.split(", ") if name in by_name)
        if isinstance(error, FloatingPointError):  # the data or some of the options may be the reason
            raise CommandError(one_line(error)) from error
        if not options or not is_bad_input(error):
            raise
        raise CommandError(f"{options}: {text}") from error
