"""Runs in which sequences start anew within a row, or pass over steps: as runs over the pieces between resets.

A reset ends one piece and begins the next, and a masked step belongs to no piece. The pieces are sequences of a ragged
batch, so they run in parallel, and every one has the bits that it has by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.nn._booleans import as_booleans
from rgru.nn._modules import module_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.nn._params import Params
    from rgru.nn._settings import Settings

MASKED = ("zero", "repeat")


class Pieces:
    """The pieces of the sequences of a batch, and the steps that they consist of.

    Parameters
    ----------
    shape : tuple of int
        The batch's steps: (N, T), or (S,) with `offsets`.
    lengths : numpy.ndarray of int64, shape (N,), or None
        Of padded sequences.
    offsets : numpy.ndarray of int64, shape (N + 1,), or None
        Of a ragged batch.
    resets, mask : object
        Booleans of the batch's shape, or None.
    directions : list of bool
        For each direction of the GRU whether it is the reverse one.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        lengths: NDArray[np.int64] | None,
        offsets: NDArray[np.int64] | None,
        *,
        resets: object,
        mask: object,
        directions: list[bool],
    ) -> None:
        self._directions = directions
        if offsets is None:
            count, time = shape
            ends = np.arange(1, count + 1) * time
            inside = np.ones(shape, np.bool_)
            if lengths is not None:
                inside = np.arange(time) < lengths[:, None]
            inside, sequence = inside.reshape(-1), np.repeat(np.arange(count), time)
        else:
            count, ends = len(offsets) - 1, offsets[1:]
            inside, sequence = np.ones(shape, np.bool_), np.repeat(np.arange(count), np.diff(offsets))
        kept, restarts = inside, np.zeros(len(inside), np.bool_)
        if mask is not None:
            kept = inside & as_booleans("mask", mask, shape).reshape(-1)
        if resets is not None:
            restarts = inside & as_booleans("resets", resets, shape).reshape(-1)
        self._inside, self.kept = inside, kept
        passed = np.concatenate([[0], np.cumsum(restarts)])  # resets before each step, and in all
        self._piece = sequence + passed[1:]  # of each step
        starts = ends - (time if offsets is None else np.diff(offsets))
        last = np.arange(count) + passed[ends]  # piece of each sequence
        first = np.concatenate([[0], last[:-1] + 1]) if count else last
        # The pieces that a direction begins and ends with. One that ends at the first step does not pass its reset.
        within = self._piece[np.minimum(starts, max(len(inside) - 1, 0))] if len(inside) else first
        self._ends = {False: (first, last), True: (last, np.where(starts < ends, within, first))}
        self._count = count + int(passed[-1])
        sizes = np.bincount(self._piece[kept], minlength=self._count)
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._rows = None if kept.all() else np.flatnonzero(kept)
        self.sequences, self.shape = count, shape

    # -- forward ---------------------------------------------------------------------------------------------------

    def inputs(self, x: Any) -> Any:
        """Return the steps of all pieces (R, I) of a batch's inputs."""
        rows = x.reshape(-1, x.shape[-1])
        return rows if self._rows is None else rows[_like(x, self._rows)]

    def initial(self, h0: Any, learned: NDArray[Any] | None) -> Any:
        """Return the initial states of all pieces (L*D, P, H); None if all are those of the GRU.

        Parameters
        ----------
        h0 : array, shape (L*D, N, H), or None
            Of the pieces that the sequences begin with, in the reverse direction their last ones.
        learned : numpy.ndarray, shape (L*D, H), or None
            Of the other pieces; zero by default.
        """
        if h0 is None:
            return None
        xp = module_of(h0)
        states = xp.zeros((h0.shape[0], self._count, h0.shape[2]), h0.dtype)
        if learned is not None:
            states[:] = xp.asarray(learned.astype(h0.dtype))[:, None]
        for cell in range(len(h0)):
            states[cell, _like(h0, self._begin(cell))] = h0[cell]
        return states

    def outputs(self, y: Any, fill: Any = None) -> Any:
        """Return the outputs of the batch for those of the pieces (R, K); at other steps 0, or `fill` (M, K)."""
        if self._rows is None:
            return y.reshape(*self.shape, y.shape[-1])
        whole = module_of(y).zeros((len(self.kept), y.shape[-1]), y.dtype)
        whole[_like(y, self._rows)] = y
        if fill is not None:
            whole[_like(y, self._passed_over())] = fill
        return whole.reshape(*self.shape, y.shape[-1])

    def repeated(self, y: Any, initial: list[Any]) -> Any:
        """Return the outputs at the masked steps, (M, K): those of the step before, or after in a reverse direction.

        Parameters
        ----------
        y : array, shape (R, D*H)
            The outputs of the pieces.
        initial : list of (reverse, states)
            For each direction whether it is the reverse one, and the pieces' initial states (P, H) in the last layer.
        """
        xp, parts, hidden = module_of(y), [], y.shape[1] // len(initial)
        for direction, (reverse, states) in enumerate(initial):
            source, exists = self._sources(reverse)
            own = y[:, direction * hidden : (direction + 1) * hidden]
            start = states[_like(y, self._piece[self._passed_over()])]
            taken = own[_like(y, np.where(exists, source, 0))] if len(own) else start
            parts.append(xp.where(_like(y, exists)[:, None], taken, start))
        return xp.concatenate(parts, axis=1)

    def finals(self, h_n: Any) -> Any:
        """Return the final states of the sequences (L*D, N, H) for those of the pieces."""
        return module_of(h_n).stack([h_n[cell, _like(h_n, self._end(cell))] for cell in range(len(h_n))])

    # -- backward --------------------------------------------------------------------------------------------------

    def d_outputs(self, dy: Any) -> Any:
        """Return the gradient by the pieces' outputs (R, K)."""
        return self.inputs(dy)

    def d_finals(self, dh_n: Any) -> Any:
        """Return the gradient by the pieces' final states (L*D, P, H)."""
        states = module_of(dh_n).zeros((dh_n.shape[0], self._count, dh_n.shape[2]), dh_n.dtype)
        for cell in range(len(dh_n)):
            states[cell, _like(dh_n, self._end(cell))] = dh_n[cell]
        return states

    def d_inputs(self, dx: Any) -> Any:
        """Return the gradient by the batch's inputs for that by the pieces' steps (R, I)."""
        return self.outputs(dx)

    def d_initial(self, dh0: Any) -> tuple[Any, Any]:
        """Return the gradients by the sequences' initial states (L*D, N, H), and by all later ones, (L*D, H)."""
        own, later = [], []
        for cell in range(len(dh0)):
            others = np.ones(self._count, np.bool_)
            others[self._begin(cell)] = False
            own.append(dh0[cell, _like(dh0, self._begin(cell))])
            later.append(dh0[cell, _like(dh0, np.flatnonzero(others))].sum(axis=0))
        xp = module_of(dh0)
        return xp.stack(own), xp.stack(later)

    def d_repeated(self, dy: Any, directions: list[bool]) -> tuple[Any, list[Any]]:
        """Return the gradients by the pieces' outputs (R, D*H) and by their initial states, D of (P, H).

        Parameters
        ----------
        dy : array
            The gradient by the outputs, of which those at masked steps repeat others.
        directions : list of bool
            For each direction whether it is the reverse one.
        """
        # On the host also for a GPU, which would add in any order; sums are no less exact than float32.
        host = dy if type(dy) is np.ndarray else dy.get()
        host = host.astype(np.result_type(host, np.float32), copy=False)
        rows = host.reshape(-1, dy.shape[-1])
        whole, starts = self.inputs(host).copy(), []
        hidden = dy.shape[-1] // len(directions)
        for direction, reverse in enumerate(directions):
            columns = slice(direction * hidden, (direction + 1) * hidden)
            source, exists = self._sources(reverse)
            masked = rows[self._passed_over(), columns]
            np.add.at(whole[:, columns], source[exists], masked[exists])
            start = np.zeros((self._count, hidden), host.dtype)
            np.add.at(start, self._piece[self._passed_over()][~exists], masked[~exists])
            starts.append(_like(dy, start.astype(dy.dtype, copy=False)))
        return _like(dy, whole.astype(dy.dtype, copy=False)), starts

    def _begin(self, cell: int) -> NDArray[np.int64]:
        """Return the piece of each sequence that a cell begins with."""
        first: NDArray[np.int64] = self._ends[self._directions[cell % len(self._directions)]][0]
        return first

    def _end(self, cell: int) -> NDArray[np.int64]:
        """Return the piece of each sequence that a cell ends with."""
        last: NDArray[np.int64] = self._ends[self._directions[cell % len(self._directions)]][1]
        return last

    # -- steps -----------------------------------------------------------------------------------------------------

    def _passed_over(self) -> NDArray[np.int64]:
        """Return the M masked steps."""
        return np.flatnonzero(self._inside & ~self.kept)

    def _sources(self, reverse: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the step of the pieces that each masked step repeats, and whether there is one."""
        steps = self._passed_over()
        piece = self._piece[steps]
        source = np.cumsum(self.kept)[steps] - (0 if reverse else 1)
        exists = source < self.offsets[piece + 1] if reverse else source >= self.offsets[piece]
        return source, exists


class PiecesWeights:
    """The packed weights of a GRU, with runs over pieces in the place of runs over whole sequences.

    It has the interface of `rgru._backends.base.PackedWeights`, for one batch.

    Parameters
    ----------
    weights : object
        The packed weights.
    pieces : Pieces
        The pieces of the batch.
    settings : Settings
    params : Params
    repeat : bool
        Whether outputs at masked steps repeat those of their neighbours, instead of being zero.
    """

    def __init__(self, weights: Any, pieces: Pieces, settings: Settings, params: Params, *, repeat: bool) -> None:
        self._weights, self._pieces, self._settings, self._params = weights, pieces, settings, params
        self._repeat = repeat

    def forward(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> tuple[Any, Any]:
        """Return y and h_n of the batch."""
        states = self._initial(h0)
        y, h_n = self._weights.forward(self._pieces.inputs(x), states, None, self._pieces.offsets)
        return self._outputs(y, states), self._pieces.finals(h_n)

    def final_states(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> Any:
        """Return h_n of the batch."""
        pieces = self._pieces
        return pieces.finals(self._weights.final_states(pieces.inputs(x), self._initial(h0), None, pieces.offsets))

    def forward_tape(  # noqa: PLR0917 - as the core has it
        self, x: Any, h0: Any, lengths: Any, offsets: Any, dropout: float, seed: int | None, checkpoint: int | None
    ) -> tuple[Any, Any, PiecesTape]:
        """Return y, h_n and the tape of the batch."""
        states = self._initial(h0)
        y, h_n, tape = self._weights.forward_tape(
            self._pieces.inputs(x), states, None, self._pieces.offsets, dropout, seed, checkpoint
        )
        own = PiecesTape(tape, self._pieces, self._settings, self._params, given=h0 is not None, repeat=self._repeat)
        return self._outputs(y, states), self._pieces.finals(h_n), own

    def _initial(self, h0: Any) -> Any:
        if h0 is not None:
            settings = self._settings
            cells = settings.num_layers * (1 + settings.bidirectional)
            check_shape("h0", h0, (cells, self._pieces.sequences, settings.hidden_size))
        return self._pieces.initial(h0, learned_states(self._params))

    def _outputs(self, y: Any, states: Any) -> Any:
        return self._pieces.outputs(y, self._fill(y, states) if self._repeat else None)

    def _fill(self, y: Any, states: Any) -> Any:
        """Return the outputs at masked steps; `states` are the initial ones of the pieces, if any were given."""
        directions = directions_of(self._settings)
        if states is None:
            learned = learned_states(self._params)
            shape = (len(directions), 1, self._settings.hidden_size)
            own = np.zeros(shape, y.dtype) if learned is None else learned[-len(directions) :, None].astype(y.dtype)
            count = len(self._pieces.offsets) - 1
            states = module_of(y).asarray(np.broadcast_to(own, (shape[0], count, shape[2])))
        last = states[len(states) - len(directions) :]
        return self._pieces.repeated(y, list(zip(directions, last, strict=True)))


class PiecesTape:
    """The tape of a run over pieces, with the gradients of the batch.

    Parameters
    ----------
    core : object
        The tape of the run over the pieces.
    pieces : Pieces
    settings : Settings
    params : Params
        Their places in the flat array are those of the gradients.
    given : bool
        Whether the sequences were given initial states.
    repeat : bool
        Whether outputs at masked steps repeat others.
    """

    def __init__(
        self, core: Any, pieces: Pieces, settings: Settings, params: Params, *, given: bool, repeat: bool
    ) -> None:
        self._core, self._pieces, self._settings, self._params = core, pieces, settings, params
        self._given, self._repeat = given, repeat

    def backward(self, dy: Any, dh_n: Any) -> tuple[Any, Any, Any]:
        """Return dx, dh0 (L*D, N, H) and dparams (P,)."""
        pieces, settings = self._pieces, self._settings
        d_pieces: Any = None
        starts: list[Any] = []
        if dy is not None:
            check_shape("dy", dy, (*pieces.shape, settings.output_size))
            if self._repeat:
                d_pieces, starts = pieces.d_repeated(dy, directions_of(settings))
            else:
                d_pieces = pieces.d_outputs(dy)
        if dh_n is not None:
            cells = settings.num_layers * (1 + settings.bidirectional)
            check_shape("dh_n", dh_n, (cells, pieces.sequences, settings.hidden_size))
        dx, dh0, flat = self._core.backward(d_pieces, None if dh_n is None else pieces.d_finals(dh_n))
        for direction, start in enumerate(starts):
            cell = len(dh0) - len(starts) + direction
            dh0[cell] = dh0[cell] + start
        first, later = pieces.d_initial(dh0)
        if settings.learned_h0:
            self._add_learned(flat, first, later, starts)
        return pieces.d_inputs(dx), first, flat

    def layers(self) -> list[tuple[list[Any], Any | None]]:
        """Return the records of the pieces, by layer."""
        return self._core.layers()  # type: ignore[no-any-return]

    def _add_learned(self, flat: Any, first: Any, later: Any, starts: list[Any]) -> None:
        """Add to the gradients of the learned initial states what the core has not: it knows of no masked steps."""
        names = [name for name in self._params if name.endswith(".h0")]
        for cell, name in enumerate(names):
            shape, start = self._params._layout[name]
            place = flat[start : start + shape[0]]
            if self._given:
                place += later[cell]
            else:
                place[:] = first[cell].sum(axis=0) + later[cell]


def directions_of(settings: Settings) -> list[bool]:
    """Return for each direction whether it is the reverse one."""
    return [settings.reverse] if not settings.bidirectional else [False, True]


def learned_states(params: Params) -> NDArray[Any] | None:
    """Return the learned initial states of all cells (L*D, H), or None if there are none."""
    states = [params[name] for name in params if name.endswith(".h0")]
    return np.stack(states) if states else None


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")


def _like(array: Any, host: NDArray[Any]) -> Any:
    """Return an array of the host on the device of another one."""
    return host if type(array) is np.ndarray else module_of(array).asarray(host)
