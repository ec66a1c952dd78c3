"""Sessions: live sequences by key."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rgru import _core
from rgru._validation.scalars import as_int, check_on_error
from rgru.sessions._keys import as_array, as_keys, no_keys, nth, take
from rgru.sessions._model_adapter import as_served
from rgru.sessions._times import as_timeout, as_times

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.nn._gru import GRU
    from rgru.sessions._keys import CoreKeys, Kind

_MOST = 2**32 - 1


class Sessions:
    """Live sequences by key (users, sensors), each with its state kept between its events.

    A batch of events gives the outputs that its events would give one by one, each of its key's sequence run alone: the
    same bits as `GRU.stream`, whatever else is in the batch, and also where a key comes several times. Everything
    runs on the CPU. Not for two threads at a time: a call during another is refused.

    Parameters
    ----------
    model : GRU, or fitted GRUClassifier or GRURegressor
        Unidirectional, of pooling "last" or "every". Sessions run with its parameters as they are now, whatever
        becomes of them later.
    max_sessions : int, optional
        Sessions at most: where a new one would be too many, that one ends whose last event came first.
    timeout : float, optional
        Seconds after its last event that a session ends; an event at exactly that time still goes on.
    state_dtype : dtype_like, optional
        "float16" keeps states in half the memory (a quarter of float64's), rounded after each event; outputs are then
        no longer those of a stream. By default the model's own type.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above; the message names it.

    Notes
    -----
    A session takes its state, L * H numbers, and 14 bytes for an integer key; 8 more where sessions are bounded, 8 more
    with a timeout. Memory grows in small steps, and that of sessions that have ended serves new ones; `clear` gives it
    back.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> sessions = rgru.Sessions(rgru.GRU(3, 8, seed=0), max_sessions=1_000_000)
    >>> y = sessions.step(["ada", "bob", "ada"], np.zeros((3, 3), np.float32))
    >>> y.shape, len(sessions), "ada" in sessions
    ((3, 8), 2, True)
    """

    def __init__(
        self,
        model: GRU | GRUClassifier | GRURegressor,
        *,
        max_sessions: int | None = None,
        timeout: float | None = None,
        state_dtype: DTypeLike | None = None,
    ) -> None:
        self._served = as_served(model)
        self._max_sessions = None if max_sessions is None else as_int("max_sessions", max_sessions, 1, _MOST)
        self._timeout = as_timeout("timeout", timeout)
        self._state_dtype = _as_state_dtype(state_dtype, self._served.dtype)
        half = self._state_dtype == np.float16
        self._core = _core.Sessions(self._served.weights, self._max_sessions, self._timeout, half)
        self._kind: Kind | None = None  # of the keys, once there were any
        self._timing: Literal["clock", "given"] | None = None  # likewise
        self._lock = Lock()

    # -- events ----------------------------------------------------------------------------------------------------

    def step(
        self, keys: Any, x: ArrayLike, times: Any = None, *, on_error: Literal["raise", "null"] = "raise"
    ) -> NDArray[Any]:
        """Take a batch of events in order; a key without a session begins one from the state 0.

        Parameters
        ----------
        keys : array_like of shape (M,), or Arrow, pandas or Polars column
            Integers (64 bits, signed), strings or bytes; always of the same kind until `clear`.
        x : array_like, shape (M, I)
            The events' features, as the model takes them. Names of a table's columns have to be those that an estimator
            was fitted on, if that had names (``feature_names_in_``).
        times : float, datetime64, datetime, or array_like of these with shape (M,), optional
            When the events are: seconds on any clock, or dates, which count as UTC unless they have a time zone. Only
            with a timeout, and then always or never; never means the system's clock. An event before the latest so far
            counts as at that time.
        on_error : {"raise", "null"}, default "raise"
            What becomes of events with NaN or infinities, which would stay in the state for good: an error that names
            the first; or an output that is NaN, and sessions as if there had been no such event.

        Returns
        -------
        numpy.ndarray, shape (M, H)
            The states of the last layer after each event. Of a classifier the probabilities (M, C) in the order of its
            ``classes_``; of a regressor the predictions (M,) or (M, K).

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or for events as above, with ``on_error="raise"``; the message names it.
        MemoryError
            If there is not enough memory.
        KeyboardInterrupt
            After Ctrl-C. As after any error, all sessions are as they were; unless the batch was all but done, as one
            of less than 50 milliseconds always is: it counts then, though its outputs are lost.
        """
        check_on_error(on_error)
        with self._alone():
            kind, data = self._as_keys("keys", keys)
            values, fits = self._served.read(x, on_error)
            timing, seconds = self._as_times("times", times, len(values))
            if fits is not None:
                data, values, seconds = _some(data, values, seconds, fits)
            try:
                y = self._core.step(*data, values, seconds)
            finally:
                if len(self._core):  # also after an interrupt that came too late
                    self._kind, self._timing = kind, timing
        made = self._served.finish(y)
        if fits is None:
            return made
        whole = np.full((len(fits), *made.shape[1:]), np.nan, made.dtype)
        whole[fits] = made
        return whole

    # -- sessions --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The number of sessions; those whose time is over count until the next `step` or `expire`."""
        return len(self._core)

    def __contains__(self, key: object) -> bool:
        """Whether a key has a session."""
        with self._alone():
            kind, data = as_keys("key", [key])
            return kind == self._kind and bool(self._core.has(*data)[0])

    def keys(self) -> NDArray[Any]:
        """Give the keys of all sessions; where these are bounded, those whose last event came first are in front.

        Returns
        -------
        numpy.ndarray, shape (M,)
            int64, or objects: strings or bytes.
        """
        with self._alone():
            keys = self._core_keys(self._core.places())
            return as_array(self._kind, keys)

    def drop(self, keys: Any) -> int:
        """End the sessions of some keys; their next events begin new ones.

        Parameters
        ----------
        keys
            As in `step`. Those without a session are passed over.

        Returns
        -------
        int
            How many sessions there were.
        """
        with self._alone():
            return self._core.drop(*self._as_keys("keys", keys)[1])

    def expire(self, now: Any = None) -> int:
        """End the sessions whose time is over, as an event at that time would; memory of theirs serves new ones.

        Parameters
        ----------
        now : float, datetime64 or datetime, optional
            On the clock of the events' times; None where these are the system's. Counts as a time of events: later
            events, and calls, are not before it.

        Returns
        -------
        int
            How many sessions there were.

        Raises
        ------
        TypeError, ValueError
            If there is no timeout, or `now` is no time; the message names it, and all sessions are as they were.
        """
        with self._alone():
            if self._timeout is None:
                raise ValueError("timeout: expected a number of seconds, for sessions to expire, got None")
            timing, seconds = self._as_times("now", now, None)
            count = self._core.expire(seconds)
            self._timing = timing
            return count

    def states(self, keys: Any) -> NDArray[Any]:
        """Give the states of some keys' sessions.

        Parameters
        ----------
        keys
            As in `step`.

        Returns
        -------
        numpy.ndarray, shape (L, M, H)
            A copy, in the model's type; `GRU.stream` and calls take it as h0.

        Raises
        ------
        KeyError
            If a key has no session.
        """
        with self._alone():
            kind, data = self._as_keys("keys", keys)
            try:
                return self._core.states(*data)  # type: ignore[no-any-return]
            except KeyError as error:
                n = error.args[0]
            raise KeyError(f"keys: expected keys with a session, got {nth(kind, data, n)!r} at position {n}")

    def clear(self) -> None:
        """End all sessions and give their memory back."""
        with self._alone():
            self._core.clear()
            self._kind = self._timing = None

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all sessions and the settings to a safetensors file, but not the model; `load` reads it.

        The file appears whole or not at all: an existing one stays as it is until the new one is complete. Memory
        for a small part of the states is enough.

        Parameters
        ----------
        path : path_like

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from rgru.sessions._snapshot import save

        with self._alone():
            save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: GRU | GRUClassifier | GRURegressor) -> Sessions:
        """Read the sessions that `save` has written; they go on with the same bits.

        Parameters
        ----------
        path : path_like
        model : GRU, GRUClassifier or GRURegressor
            With the GRU that the states come from; its parameters are compared.

        Returns
        -------
        Sessions
            With the same settings.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        TypeError, ValueError
            If it is no such file or not whole, or of another model; the message names the file and what is wrong.
        """
        from rgru.sessions._snapshot import load

        return load(cls, path, model)

    # -- settings --------------------------------------------------------------------------------------------------

    @property
    def max_sessions(self) -> int | None:
        """Sessions at most."""
        return self._max_sessions

    @property
    def timeout(self) -> float | None:
        """Seconds after its last event that a session ends."""
        return self._timeout

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """The type that states are kept in."""
        return self._state_dtype

    def __repr__(self) -> str:
        settings = {"max_sessions": self._max_sessions, "timeout": self._timeout}
        words = [f"{name}={value!r}" for name, value in settings.items() if value is not None]
        if self._state_dtype != self._served.dtype:
            words.append(f"state_dtype={self._state_dtype.name!r}")
        return f"Sessions({', '.join([self._served.words, *words])}): {len(self)} live"

    # -- inside ----------------------------------------------------------------------------------------------------

    def _core_keys(self, places: NDArray[np.uint32]) -> CoreKeys:
        if not len(places):  # the core may have another kind, of a batch that was interrupted
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
    """For the length of a block no other call; who comes meanwhile is refused, since a signal's handler would wait
    forever.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise ValueError("sessions: expected one call at a time, got one during another")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _some(keys: CoreKeys, x: NDArray[Any], times: Any, chosen: NDArray[np.bool_]) -> tuple[CoreKeys, NDArray[Any], Any]:
    """Return the chosen events alone."""
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
