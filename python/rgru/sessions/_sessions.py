"""The class `Sessions`: live sequences by key."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rgru import _core
from rgru._validation.keywords import suggests
from rgru._validation.scalars import as_int, check_on_error
from rgru.sessions._keys import as_array, as_keys, no_keys, nth, take
from rgru.sessions._model_adapter import as_adapter
from rgru.sessions._times import as_timeout, as_times

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model
    from rgru.nn._gru import GRU
    from rgru.sessions._keys import CoreKeys, Kind

_MOST = 2**32 - 1


class Sessions:
    """Live sequences by key (users, sensors), each with a state that is kept between its events.

    A batch of events yields the outputs that its events would yield one by one, with each key's sequence on its own:
    the same bits as `GRU.stream`, whatever else is in the batch, even if a key occurs several times. Everything runs on
    the CPU. Only one thread may use the sessions at a time: a call during another call is refused.

    Parameters
    ----------
    model : GRU, Model, or fitted GRUClassifier or GRURegressor
        A unidirectional model with pooling "last" or "every". Sessions use a snapshot of its current parameters.
    max_sessions : int, optional
        The largest number of sessions. A new session beyond it ends the least recently used one.
    timeout : float, optional
        Seconds from a session's last event to its end; an event at exactly that time still continues the session.
    state_dtype : dtype_like, optional
        Type of the kept states. "float16" takes half the memory (a quarter of float64's) and rounds states after each
        event, so that outputs differ from a stream's. By default the model's own type.

    Notes
    -----
    A session takes its state, L * H numbers, and 14 bytes for an integer key; 8 more with `max_sessions`, 8 more with a
    timeout. Memory grows in small steps. Memory of ended sessions is reused for new ones; `clear` frees it.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> sessions = rgru.Sessions(rgru.GRU(3, 8, seed=0), max_sessions=1_000_000)
    >>> y = sessions.step(["ada", "bob", "ada"], np.zeros((3, 3), np.float32))
    >>> y.shape, len(sessions), "ada" in sessions
    ((3, 8), 2, True)
    """

    @suggests
    def __init__(
        self,
        model: GRU | Model | GRUClassifier | GRURegressor,
        *,
        max_sessions: int | None = None,
        timeout: float | None = None,
        state_dtype: DTypeLike | None = None,
    ) -> None:
        self._model = as_adapter(model)
        self._max_sessions = None if max_sessions is None else as_int("max_sessions", max_sessions, 1, _MOST)
        self._timeout = as_timeout("timeout", timeout)
        self._state_dtype = _as_state_dtype(state_dtype, self._model.dtype)
        half = self._state_dtype == np.float16
        if half:
            self._model.check_half()
        self._core = _core.Sessions(self._model.weights, self._max_sessions, self._timeout, half)
        self._kind: Kind | None = None  # of the keys, after the first ones
        self._timing: Literal["clock", "given"] | None = None  # after the first times
        self._lock = Lock()

    # -- events ----------------------------------------------------------------------------------------------------

    def step(
        self, keys: Any, x: ArrayLike, times: Any = None, *, on_error: Literal["raise", "null"] = "raise"
    ) -> NDArray[Any]:
        """Process a batch of events in order; a key without a session starts one from the GRU's initial states.

        After an error all sessions are as they were.

        Parameters
        ----------
        keys : array_like of shape (M,), or Arrow, pandas or Polars column
            Integers (64 bits, signed), strings or bytes; of the same kind in all batches until `clear`.
        x : array_like, shape (M, I)
            Features of the events, in a form that the model accepts. If an estimator was fitted on named features
            (``feature_names_in_``), a table's columns must have these names.
        times : float, datetime64, datetime, or array_like of these with shape (M,), optional
            Times of the events: seconds on any clock, or dates, which count as UTC unless they have a time zone. Only
            with a timeout; pass them in all batches or in none, which then use the system's clock. An event before the
            latest so far counts as at that time.
        on_error : {"raise", "null"}, default "raise"
            Treatment of events with NaN or infinities, and of those after which a state is not finite, as a state of an
            unbounded cell (ReLU) may become. Both would stay so forever: an error that names the first event, or NaN as
            their output and no effect on sessions; after a state that is not finite also for the key's later events
            of the batch.

        Returns
        -------
        numpy.ndarray, shape (M, H)
            States of the last layer after each event. For a classifier, the probabilities (M, C) in the order of its
            ``classes_``; for a regressor, the predictions (M,) or (M, K).

        Raises
        ------
        MemoryError
            If there is not enough memory.
        KeyboardInterrupt
            After Ctrl-C. Sessions are as they were, unless the batch was already being committed, as a batch of less
            than 50 milliseconds always is. Then it takes effect, and only its outputs are lost.

        Examples
        --------
        >>> import rgru
        >>> sessions = rgru.Sessions(rgru.GRU(2, 5), timeout=60.0)
        >>> sessions.step([7, 8], [[0.1, 0.2], [0.3, 0.4]], times=[0.0, 1.5]).shape
        (2, 5)
        """
        check_on_error(on_error)
        with self._alone():
            kind, data = self._as_keys("keys", keys)
            values, valid = self._model.read(x, on_error)
            timing, seconds = self._as_times("times", times, len(values))
            try:
                y, valid = self._finite_step(data, values, seconds, valid, on_error)
            finally:
                if len(self._core):  # also after an interrupt during the commit
                    self._kind, self._timing = kind, timing
        outputs = self._model.finish(y)
        if valid is None:
            return outputs
        whole = np.full((len(valid), *outputs.shape[1:]), np.nan, outputs.dtype)
        whole[valid] = outputs
        return whole

    def _finite_step(
        self, data: Any, values: NDArray[Any], seconds: Any, valid: NDArray[np.bool_] | None, on_error: str
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Run the valid events; those after which a state would not be finite are an error, or become invalid."""
        while True:
            chosen: tuple[CoreKeys, NDArray[Any], Any] = (data, values, seconds)
            if valid is not None:
                chosen = _select(data, values, seconds, valid)
            keys, x, times = chosen
            try:
                return self._core.step(*keys, x, times), valid
            except OverflowError as error:
                events = np.asarray(error.args[0]) if valid is None else np.flatnonzero(valid)[error.args[0]]
            if on_error == "raise":
                raise ValueError(
                    f"x: expected events after which the states are finite in {values.dtype.name}, got others from "
                    f"event {events.min()} on (counted from 0); a state_clip bounds them"
                )
            valid = np.ones(len(values), np.bool_) if valid is None else valid.copy()
            valid[events] = False

    # -- sessions --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of sessions; those that have timed out count until the next `step` or `expire`."""
        return len(self._core)

    def __contains__(self, key: object) -> bool:
        """Return whether a key has a session."""
        with self._alone():
            kind, data = as_keys("key", [key])
            return kind == self._kind and bool(self._core.has(*data)[0])

    def keys(self) -> NDArray[Any]:
        """Return the keys of all sessions; if these are bounded, in the order of their last events.

        Returns
        -------
        numpy.ndarray, shape (M,)
            An array of int64, or of strings or bytes as objects.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> sessions = rgru.Sessions(rgru.GRU(3, 8), max_sessions=10)
        >>> y = sessions.step([7, 8, 7], np.zeros((3, 3), np.float32))
        >>> sessions.keys().tolist()
        [8, 7]
        """
        with self._alone():
            keys = self._core_keys(self._core.places())
            return as_array(self._kind, keys)

    def drop(self, keys: Any) -> int:
        """End the sessions of some keys; the next events of these keys start new ones.

        Parameters
        ----------
        keys : array_like of shape (M,), or Arrow, pandas or Polars column
            Keys as in `step`. Keys without a session are ignored.

        Returns
        -------
        int
            The number of ended sessions.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> sessions = rgru.Sessions(rgru.GRU(3, 8))
        >>> y = sessions.step(["ada", "bob"], np.zeros((2, 3), np.float32))
        >>> sessions.drop(["bob", "cleo"])
        1
        """
        with self._alone():
            return self._core.drop(*self._as_keys("keys", keys)[1])

    def expire(self, now: Any = None) -> int:
        """End the sessions that have timed out, as an event at that time would; their memory is reused.

        Parameters
        ----------
        now : float, datetime64 or datetime, optional
            The time, on the clock of the events' times; None if that is the system's. It counts as the time of an
            event: later events and calls before it count as at that time.

        Returns
        -------
        int
            The number of ended sessions.

        Raises
        ------
        ValueError
            If these sessions have no timeout.

        Examples
        --------
        >>> import rgru
        >>> sessions = rgru.Sessions(rgru.GRU(2, 5), timeout=60.0)
        >>> y = sessions.step([7, 8], [[0.1, 0.2], [0.3, 0.4]], times=[0.0, 30.0])
        >>> sessions.expire(now=80.0)
        1
        """
        with self._alone():
            if self._timeout is None:
                raise ValueError("timeout: expected a number of seconds, for sessions to expire, got None")
            timing, seconds = self._as_times("now", now, None)
            count = self._core.expire(seconds)
            self._timing = timing
            return count

    def states(self, keys: Any) -> NDArray[Any]:
        """Return the states of some keys' sessions.

        Parameters
        ----------
        keys : array_like of shape (M,), or Arrow, pandas or Polars column
            Keys as in `step`.

        Returns
        -------
        numpy.ndarray, shape (L, M, H)
            A copy in the model's type; calls of the GRU and `GRU.stream` accept it as ``h0``.

        Raises
        ------
        KeyError
            If a key has no session.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> sessions = rgru.Sessions(rgru.GRU(3, 8))
        >>> y = sessions.step(["ada", "bob"], np.zeros((2, 3), np.float32))
        >>> sessions.states(["bob"]).shape
        (1, 1, 8)
        """
        with self._alone():
            kind, data = self._as_keys("keys", keys)
            try:
                return self._core.states(*data)  # type: ignore[no-any-return]
            except KeyError as error:
                n = error.args[0]
            raise KeyError(f"keys: expected keys with a session, got {nth(kind, data, n)!r} at position {n}")

    def clear(self) -> None:
        """End all sessions and free their memory.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> sessions = rgru.Sessions(rgru.GRU(3, 8))
        >>> y = sessions.step(["ada", "bob"], np.zeros((2, 3), np.float32))
        >>> sessions.clear()
        >>> len(sessions)
        0
        """
        with self._alone():
            self._core.clear()
            self._kind = self._timing = None

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all sessions and the settings, but not the model, to a safetensors file; `load` reads it.

        The file is replaced atomically: an existing one stays as it is until the new one is complete. Writing takes
        memory for a small part of the states only.

        Parameters
        ----------
        path : path_like
            The file.

        Raises
        ------
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import rgru
        >>> gru = rgru.GRU(3, 8)
        >>> sessions = rgru.Sessions(gru)
        >>> y = sessions.step(["ada", "bob"], np.zeros((2, 3), np.float32))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "sessions.safetensors")
        ...     sessions.save(path)
        ...     rgru.Sessions.load(path, gru)
        Sessions(GRU(3, 8)): 2 live
        """
        from rgru.sessions._snapshot import save

        with self._alone():
            save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: GRU | Model | GRUClassifier | GRURegressor) -> Sessions:
        """Read the sessions that `save` has written; they continue with the same bits.

        Parameters
        ----------
        path : path_like
            The file.
        model : GRU, Model, GRUClassifier or GRURegressor
            The model of the saved sessions, or one with the same GRU; its parameters are compared.

        Returns
        -------
        Sessions
            The sessions, with the same settings.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file is of another format, incomplete or damaged, or of another model.

        Examples
        --------
        >>> import os, tempfile
        >>> import rgru
        >>> gru = rgru.GRU(3, 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "sessions.safetensors")
        ...     rgru.Sessions(gru, timeout=60).save(path)
        ...     rgru.Sessions.load(path, gru)
        Sessions(GRU(3, 8), timeout=60.0): 0 live
        """
        from rgru.sessions._snapshot import load

        return load(cls, path, model)

    # -- settings --------------------------------------------------------------------------------------------------

    @property
    def max_sessions(self) -> int | None:
        """The largest number of sessions, or None."""
        return self._max_sessions

    @property
    def timeout(self) -> float | None:
        """Seconds from a session's last event to its end, or None."""
        return self._timeout

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """The type of the kept states."""
        return self._state_dtype

    def __repr__(self) -> str:
        settings = {"max_sessions": self._max_sessions, "timeout": self._timeout}
        words = [f"{name}={value!r}" for name, value in settings.items() if value is not None]
        if self._state_dtype != self._model.dtype:
            words.append(f"state_dtype={self._state_dtype.name!r}")
        return f"Sessions({', '.join([self._model.words, *words])}): {len(self)} live"

    # -- internals -------------------------------------------------------------------------------------------------

    def _core_keys(self, places: NDArray[np.uint32]) -> CoreKeys:
        if not len(places):  # the core may have another kind, from an interrupted batch
            return no_keys(self._kind)
        if self._kind in {None, "int"}:
            return self._core.integers(places), None
        return self._core.texts(places)

    def _as_keys(self, name: str, keys: Any) -> tuple[Kind | None, CoreKeys]:
        kind, data = as_keys(name, keys)
        if kind is None:
            return self._kind, no_keys(self._kind)
        if self._kind not in {None, kind}:
            raise TypeError(f"{name}: expected keys of type {self._kind} as before, got {kind}")
        return kind, data

    def _as_times(self, name: str, times: Any, count: int | None) -> tuple[Literal["clock", "given"] | None, Any]:
        if self._timeout is None:
            if times is not None:
                raise ValueError(f"{name}: expected None without a timeout, got {type(times).__name__}")
            return None, None
        timing: Literal["clock", "given"] = "clock" if times is None else "given"
        if self._timing not in {None, timing}:
            words = {"clock": "None", "given": "times"}
            raise ValueError(f"{name}: expected {words[self._timing or timing]} as before, got {words[timing]}")
        return timing, time.time() if times is None else as_times(name, times, count)

    def _alone(self) -> _Alone:
        return _Alone(self._lock)


class _Alone:
    """A context that excludes concurrent calls.

    A second caller gets an error instead of waiting, since a signal handler on the same thread would wait forever.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise ValueError("sessions: expected one call at a time, got one during another")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _select(
    keys: CoreKeys, x: NDArray[Any], times: Any, chosen: NDArray[np.bool_]
) -> tuple[CoreKeys, NDArray[Any], Any]:
    """Return only the chosen events."""
    data, offsets = keys
    count = len(data) if offsets is None else len(offsets) - 1
    if count != len(x):
        raise ValueError(f"keys: expected shape ({len(x)},), got ({count},)")
    return take(keys, chosen), x[chosen], times[chosen] if isinstance(times, np.ndarray) else times


def _as_state_dtype(value: Any, own: np.dtype[Any]) -> np.dtype[Any]:
    if value is None:
        return own
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError:
        raise TypeError(f"state_dtype: expected 'float16', {own.name!r} or None, got {value!r}") from None
    if dtype not in {own, np.dtype(np.float16)}:
        raise ValueError(f"state_dtype: expected 'float16', {own.name!r} or None, got {dtype.name!r}")
    return dtype
