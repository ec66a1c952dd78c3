"""Snapshots of sessions: safetensors files with a checksum, written and read in pieces."""

from __future__ import annotations

import json
import math
import os
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from rgru._files.atomic_write import whole_file
from rgru._files.model_file import FORMAT, VERSION, check_kind, check_metadata, header, opened, safetensors_name
from rgru.sessions._checksum import NAME, UNKNOWN, check_sum, write_summed
from rgru.sessions._model_adapter import as_served

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rgru import _core
    from rgru.sessions._model_adapter import Served


class Snapshotted(Protocol):
    """What a snapshot keeps of sessions, and restores; see `Sessions`."""

    _core: _core.Sessions
    _served: Served
    _kind: Any
    _timing: Any

    @property
    def max_sessions(self) -> int | None: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def state_dtype(self) -> np.dtype[Any]: ...
    def _core_keys(self, places: NDArray[Any]) -> tuple[Any, Any]: ...


SessionsT = TypeVar("SessionsT", bound=Snapshotted)

KIND = "Sessions"

_PIECE = 2**22
"""Numbers of states that are in memory beside the sessions, about."""


def save(sessions: Snapshotted, path: str | os.PathLike[str]) -> None:
    """Write sessions; see `Sessions.save`. They must not change meanwhile."""
    core, served = sessions._core, sessions._served
    places = core.places()
    shape = (len(places), served.config["num_layers"], served.config["hidden_size"])
    keys, offsets = sessions._core_keys(places)
    small: dict[str, NDArray[Any]] = {"keys": keys} if offsets is None else {"key_offsets": offsets, "key_data": keys}
    if sessions.timeout is not None:
        small = {"times": core.times(places), **small}
    config = {
        "gru": served.config,
        "fingerprint": served.fingerprint,
        "max_sessions": sessions.max_sessions,
        "timeout": sessions.timeout,
        "state_dtype": sessions.state_dtype.name,
        "keys": sessions._kind,
        "timing": sessions._timing,
        "clock": core.clock if math.isfinite(core.clock) else None,
    }
    described = {"states": (sessions.state_dtype, shape)} | {name: (a.dtype, a.shape) for name, a in small.items()}
    content = chain(
        [_header(described, config, UNKNOWN)],
        (core.kept(places[piece]).data for piece in _pieces(shape)),
        (array.data for array in small.values()),
    )
    with whole_file(path) as draft, draft.open("wb") as file:
        checksum = write_summed(file, content)
        file.seek(0)
        file.write(_header(described, config, checksum))


def load(cls: Callable[..., SessionsT], path: str | os.PathLike[str], model: Any) -> SessionsT:
    """Read sessions; see `Sessions.load`."""
    served, name = as_served(model), os.fspath(path)
    with opened(path) as file:
        metadata = file.metadata()
        kind, config = check_metadata(name, metadata)
        check_kind(name, kind, (KIND,))
        if NAME in metadata:  # the first snapshots had none
            check_sum(path, metadata[NAME])
        for what, of_model in (("gru", served.config), ("fingerprint", served.fingerprint)):
            if config.get(what) != of_model:
                got = served.words if what == "gru" else "one with other parameters"
                raise ValueError(f"{name}: expected the model that the states come from, got {got}")
        try:
            settings = {key: config[key] for key in ("max_sessions", "timeout", "state_dtype")}
            sessions = cls(model, **settings)
            _restore(sessions, file, config)
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise ValueError(f"{name}: not a whole snapshot ({error})") from error
    return sessions


def _restore(sessions: Snapshotted, file: Any, config: dict[str, Any]) -> None:
    expected = {"states"} if sessions.timeout is None else {"states", "times"}
    expected |= {"keys"} if config["keys"] in {None, "int"} else {"key_data", "key_offsets"}
    if set(file.keys()) != expected:
        raise ValueError(f"tensors: expected {sorted(expected)}, got {sorted(file.keys())}")
    if config["keys"] not in {None, "int", "str", "bytes"} or config["timing"] not in {None, "clock", "given"}:
        raise ValueError(f"keys and timing: got {config['keys']!r} and {config['timing']!r}")
    small = {name: file.get_tensor(name) for name in expected - {"states"}}
    states = file.get_slice("states")
    sizes = sessions._served.config["num_layers"], sessions._served.config["hidden_size"]
    shape = (len(small["keys"]) if "keys" in small else len(small["key_offsets"]) - 1, *sizes)
    if tuple(states.get_shape()) != shape or states.get_dtype() != safetensors_name(sessions.state_dtype):
        got = f"{states.get_dtype()} of {tuple(states.get_shape())}"
        raise ValueError(f"states: expected {sessions.state_dtype} of shape {shape}, got {got}")
    clock = -math.inf if config["clock"] is None else float(config["clock"])
    for piece in _pieces(shape):
        keys = _piece_of_keys(small, piece)
        rows = np.ascontiguousarray(states[piece] if shape[0] else file.get_tensor("states"))  # no rows, no slices
        rows = rows.view(np.uint16) if rows.dtype == np.float16 else rows
        sessions._core.restore(*keys, rows, small["times"][piece] if "times" in small else None, clock)
    sessions._kind, sessions._timing = config["keys"], config["timing"]


def _piece_of_keys(small: dict[str, NDArray[Any]], piece: slice) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    if "keys" in small:
        return small["keys"][piece], None
    offsets = small["key_offsets"]
    return small["key_data"], offsets[piece.start : piece.stop + 1]


def _pieces(shape: tuple[int, ...]) -> list[slice]:
    """Give the rows of each piece; there is always one, by which the core learns the kind of keys and the time."""
    count, rows = shape[0], max(1, _PIECE // math.prod(shape[1:]))
    return [slice(first, min(first + rows, count)) for first in range(0, max(count, 1), rows)]


def _header(arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...]]], config: dict[str, Any], checksum: str) -> bytes:
    metadata = {"format": FORMAT, "version": VERSION, "kind": KIND, "config": json.dumps(config), NAME: checksum}
    return header(arrays, metadata)
