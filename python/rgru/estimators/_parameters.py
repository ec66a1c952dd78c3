"""The parameters of the estimators: what they mean, scikit-learn's way to read and set them, their checks."""

from __future__ import annotations

import inspect
import math
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np

from rgru._validation.scalars import as_bool, as_int, as_probability
from rgru.train._loop import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike
    from typing_extensions import Self

    from rgru.train._model import Pooling

RandomState = int | np.integer[Any] | np.random.Generator | np.random.RandomState | None


P = ParamSpec("P")


def _checked(init: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """Make a constructor name the class, and the nearest parameter, where it is called with others than it has."""

    @wraps(init)
    def checked(self: Any, /, *args: P.args, **params: P.kwargs) -> None:
        if args:
            raise TypeError(f"{type(self).__name__}: expected parameters by name, got {args[0]!r} by place")
        for name in params:
            if name not in self._defaults():
                raise TypeError(self._unknown(name))
        init(self, *args, **params)

    return checked


class Parameters:
    """The constructor's parameters as attributes; the base of the estimators."""

    _poolings: tuple[Pooling, ...]

    @_checked
    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        reset_after: bool = False,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        learning_rate: float = 5e-3,
        batch_size: int = 32,
        max_epochs: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        max_grad_norm: float | None = 1.0,
        standardize: bool = True,
        dtype: DTypeLike = "float32",
        device: str = "cpu",
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        """Keep the parameters; `fit` checks them.

        Parameters
        ----------
        hidden_size : int, default 64
            H, the units of each layer and direction.
        num_layers : int, default 1
        bidirectional : bool, default False
            Whether each layer also walks the sequences from their ends.
        reset_after : bool, default False
            Which of the two GRU cells; see `rgru.GRU`.
        dropout : float, default 0.0
            The share of features hidden in training, between the layers and before the head; from 0 to below 1.
        pooling : {"last", "mean", "every"}, default "last"
            What the outputs are computed from: the state after a sequence's last step (of the reverse direction: after
            its first), or the mean over its steps. "every", for regression only: an output for every step.
        learning_rate : float, default 0.005
            Adam's step size at the start; it falls along half a cosine to 0 at the end of `max_epochs`.
        batch_size : int, default 32
            Sequences per step of Adam.
        max_epochs : int, default 100
            Passes over the training data, at most.
        early_stopping : bool, default False
            Whether `fit` sets a part of the sequences aside to watch the loss on, and keeps the weights of the epoch
            with the lowest. By default it trains on all sequences for `max_epochs`, and keeps the last weights.
        validation_fraction : float, default 0.1
            The share of the sequences to set aside, above 0 and below 1: of each class alike, and at least one
            sequence in all. Only used with `early_stopping`.
        patience : int or None, default 20
            Stop after so many epochs without a lower validation loss; None trains for `max_epochs`. Only used with
            `early_stopping`.
        max_grad_norm : float or None, default 1.0
            The largest global L2 norm of the gradients of a batch; larger ones are scaled down. None: no limit.
        standardize : bool, default True
            Shift and scale each feature to mean 0 and deviation 1 over all steps that `fit` sees.
        dtype : dtype_like, default "float32"
            float32 or float64: the precision of all computations.
        device : str, default "cpu"
            Where `fit` and predictions compute: "cpu", "cuda" (the first GPU) or "cuda:1" and so on. ``set_params``
            changes it for a fitted estimator, too. X, y and all results are arrays of the host in any case. Files do
            not keep it: what `rgru.load` gives computes on the CPU until told otherwise.
        random_state : int, numpy.random.Generator, numpy.random.RandomState or None, default None
            Of initial weights, dropout, validation split and order. With the same int and version of NumPy, `fit` gives
            the same bits on every machine's CPU; on a GPU it repeats itself.
        verbose : bool, default False
            Report each epoch on stderr while fitting: a progress bar where that is a terminal and tqdm is installed,
            else, as in notebooks and logs, a line.
        """
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.reset_after = reset_after
        self.dropout = dropout
        self.pooling = pooling
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.max_grad_norm = max_grad_norm
        self.standardize = standardize
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "self"}

    @classmethod
    def _unknown(cls, name: str) -> str:
        known = list(cls._defaults())
        nearest = get_close_matches(name, known, 1)
        there = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(known)}"
        return f"{cls.__name__} has no parameter {name!r}: {there}"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the constructor's parameters by name.

        Parameters
        ----------
        deep : bool, default True
            Of no effect, since no parameter is an estimator; scikit-learn passes it.
        """
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, for the next `fit`.

        Raises
        ------
        ValueError
            If there is no parameter of a name.
        """
        for name in params:
            if name not in self._defaults():
                raise ValueError(self._unknown(name))
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = {k: v for k, v in self.get_params().items() if repr(v) != repr(self._defaults()[k])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def _generator(self) -> np.random.Generator:
        """Give a generator for `random_state`."""
        source = self.random_state
        if isinstance(source, np.random.Generator):
            return source
        if isinstance(source, np.random.RandomState):
            return np.random.default_rng(source.randint(0, 2**31, size=4))
        return np.random.default_rng(None if source is None else as_int("random_state", source, 0, 2**64 - 1))

    def _schedule(self) -> Schedule:
        """Check the parameters that neither GRU nor Model does, and give those of the fit loop."""
        if self.pooling not in self._poolings:
            raise ValueError(f"pooling: expected one of {', '.join(map(repr, self._poolings))}, got {self.pooling!r}")
        as_bool("standardize", self.standardize)
        as_bool("verbose", self.verbose)
        stops = as_bool("early_stopping", self.early_stopping)
        fraction = as_probability("validation_fraction", self.validation_fraction)
        if stops and not fraction:
            raise ValueError(f"validation_fraction: expected a number above 0 with early_stopping=True, got {fraction}")
        patience = None if self.patience is None else as_int("patience", self.patience, 1)
        return Schedule(
            learning_rate=_as_positive("learning_rate", self.learning_rate),
            batch_size=as_int("batch_size", self.batch_size, 1),
            max_epochs=as_int("max_epochs", self.max_epochs, 1),
            patience=patience if stops else None,
            max_grad_norm=None if self.max_grad_norm is None else _as_positive("max_grad_norm", self.max_grad_norm),
        )


def _as_positive(name: str, value: object) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    number = float(value)
    if not (number > 0.0 and math.isfinite(number)):
        raise ValueError(f"{name}: expected a finite number above 0, got {number}")
    return number
