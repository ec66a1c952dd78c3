"""The parameters of the estimators: scikit-learn's methods to read and set them, and their validation."""

from __future__ import annotations

import inspect
import math
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np

from rgru._validation.keywords import suggests, unknown
from rgru._validation.scalars import as_bool, as_int, as_probability, is_number
from rgru.estimators._sklearn import mime_bundle
from rgru.train._schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import DTypeLike
    from typing_extensions import Self


RandomState = int | np.integer[Any] | np.random.Generator | np.random.RandomState | None


P = ParamSpec("P")


def _checked(init: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """Wrap a constructor so that errors about unknown parameters and those by position name the class."""
    suggesting = suggests(init)

    @wraps(init)
    def checked(self: Any, /, *args: P.args, **params: P.kwargs) -> None:
        if args:
            raise TypeError(f"{type(self).__name__}: expected parameters by name, got {args[0]!r} by position")
        suggesting(self, *args, **params)

    return checked


class Parameters:
    """The constructor's parameters as attributes; the base of the estimators, whose classes document them."""

    _poolings: tuple[str, ...]

    @_checked
    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        reset_after: bool = False,
        dropout: float = 0.0,
        gru_options: Mapping[str, Any] | None = None,
        pooling: str = "last",
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
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.reset_after = reset_after
        self.dropout = dropout
        self.gru_options = gru_options
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
        return unknown(cls.__name__, name, cls._defaults())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters by name.

        Parameters
        ----------
        deep : bool, default True
            Ignored, since no parameter is an estimator; scikit-learn passes it.

        Returns
        -------
        dict
            The parameters' names and values.
        """
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, for the next `fit`.

        Parameters
        ----------
        **params : dict
            The parameters' names and values.

        Returns
        -------
        GRUClassifier or GRURegressor
            The estimator itself.
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

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return what notebooks show; called by IPython."""
        return mime_bundle(self)

    def _generator(self) -> np.random.Generator:
        """Return a generator for `random_state`."""
        source = self.random_state
        if isinstance(source, np.random.Generator):
            return source
        if isinstance(source, np.random.RandomState):
            return np.random.default_rng(source.randint(0, 2**31, size=4))
        return np.random.default_rng(None if source is None else as_int("random_state", source, 0, 2**64 - 1))

    def _schedule(self) -> Schedule:
        """Validate the parameters that GRU and Model do not, and return those of the fit loop."""
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
    if not is_number(value):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    number = float(value)
    if not (number > 0.0 and math.isfinite(number)):
        raise ValueError(f"{name}: expected a finite number above 0, got {number}")
    return number
