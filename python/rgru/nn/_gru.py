"""The GRU layer: parameters, and the calls that run and differentiate it."""

from __future__ import annotations

import math
import os
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rgru import _core
from rgru._data.ragged import Ragged
from rgru._validation.arrays import as_index, as_real, on_gpu, own
from rgru._validation.scalars import as_int
from rgru.nn._params import Layer, Params
from rgru.nn._settings import Settings
from rgru.nn._stream import Stream
from rgru.nn._tape import Tape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from rgru.nn._params import Layout


class GRU(Settings):
    """A stack of gated recurrent units (Cho et al. 2014), batch first.

    Calls may run on several threads at once; changing parameters meanwhile gives no defined moment of the change.

    Parameters
    ----------
    input_size : int
        I, the features of one step.
    hidden_size : int
        H, the units of each layer and direction.
    num_layers : int, default 1
        L; each layer reads the outputs of the one below.
    bidirectional : bool, default False
        Whether each layer also walks the sequences from their own ends; D is then 2, else 1.
    reset_after : bool, default False
        Whether the reset gate applies after the recurrent product, as in PyTorch and cuDNN. The two kinds of cell
        cannot be converted into each other.
    bias : bool, default True
        Whether the cells have biases.
    dropout : float, default 0.0
        The share of each layer's outputs that is dropped before the next layer, in `record` only; plain calls and
        streams drop nothing. From 0 to below 1, and 0 with a single layer.
    dtype : dtype_like, default "float32"
        float32 or float64, of parameters, inputs and outputs.
    seed : int, optional
        From 0 to 2**64 - 1. The same seed gives the same initial parameters on every platform, and the same dropout
        masks in the same succession of calls. By default drawn from the system's entropy.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range, by its name.

    Notes
    -----
    W starts glorot uniform, U orthogonal, each per gate, and the biases zero.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> gru = rgru.GRU(3, 8, seed=0)
    >>> gru
    GRU(3, 8)
    >>> y, h_n = gru(np.zeros((2, 5, 3), np.float32))
    >>> y.shape, h_n.shape
    ((2, 5, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        reset_after: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            reset_after=reset_after,
            bias=bias,
            dropout=dropout,
            dtype=dtype,
        )
        self._begin(int.from_bytes(os.urandom(8), "little") if seed is None else as_int("seed", seed, 0, 2**64 - 1))
        self._flat = _core.initial(**self._sizes, seed=self._seed, dtype=self._dtype.name)

    def _begin(self, seed: int) -> None:
        """Set everything but the parameters, once the settings are there."""
        self._seed = seed
        self._masks = 0  # how many times `record` has drawn dropout masks
        self._layout: Layout = {name: (tuple(shape), start) for name, shape, start in _core.layout(**self._sizes)}
        self._lock = Lock()
        self._version = 0  # of the parameters
        self._packed: _core.Weights | None = None
        self._on_gpus: dict[int, Any] = {}  # the same, by the index of the GPU
        self._captured: list[Any] = []  # old ones that captured graphs still read

    # -- parameters ------------------------------------------------------------------------------------------------

    @property
    def num_params(self) -> int:
        """P, the number of all parameters."""
        return int(self._flat.size)

    @property
    def params(self) -> Params:
        """All parameters by name; see `rgru.nn.Params`. Assign to them to change them."""
        return Params(self._flat, self._layout, self._changed)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, with their parameters by the equations' names: ``gru.layers[0].fwd.W_xr``."""
        params = self.params
        return tuple(Layer(params, k) for k in range(self.num_layers))

    def _changed(self) -> None:
        """Forget the packed weights; to be called after every change of `_flat`."""
        with self._lock:
            self._version += 1
            self._packed = None
            self._captured += [weights for weights in self._on_gpus.values() if weights.captured]
            self._on_gpus = {}

    def _weights_beside(self, values: Any, training: bool = False) -> Any:
        """Give the packed weights on the device of an array that `_inputs` has made."""
        return self._weights(training) if type(values) is np.ndarray else self._gpu_weights(values.device.id)

    def _gpu_weights(self, index: int) -> Any:
        weights = self._on_gpus.get(index)
        if weights is None:
            from rgru._cuda.device import open_device
            from rgru._cuda.stack import Weights

            version, device = self._version, open_device(index)
            with device.current([]):
                weights = Weights(device, device.array(self._flat), **self._sizes)
            with self._lock:
                if self._version == version:
                    self._on_gpus[index] = weights
        return weights

    def _weights(self, training: bool = False) -> _core.Weights:
        packed = self._packed
        if packed is not None and (packed.training or not training):
            return packed
        version = self._version
        packed = _core.Weights(self._flat, **self._sizes, training=training)
        with self._lock:
            if self._version == version:  # else the parameters changed meanwhile, and this is already old
                self._packed = packed
        return packed

    # -- running ---------------------------------------------------------------------------------------------------

    @overload
    def __call__(self, x: Ragged, h0: ArrayLike | None = None) -> tuple[Ragged, NDArray[Any]]: ...
    @overload
    def __call__(
        self, x: ArrayLike, h0: ArrayLike | None = None, *, lengths: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def __call__(
        self, x: ArrayLike | Ragged, h0: ArrayLike | None = None, *, lengths: ArrayLike | None = None
    ) -> tuple[NDArray[Any] | Ragged, NDArray[Any]]:
        """Run over a batch of sequences.

        A sequence's output has the same bits whatever batch it stands in, padded, ragged or streamed, on any number of
        threads.

        Parameters
        ----------
        x : array_like, shape (N, T, I), or Ragged with I features
            Of the GRU's dtype, or one that goes into it without a value changing.
        h0 : array_like, shape (L*D, N, H), optional
            The states before the first step, layer by layer, forward before reverse; zero by default.
        lengths : array_like of int, shape (N,), optional
            The number of valid steps of each sequence, from 0 to T, which is the default. What lies past it in `x` is
            never read. Not with a Ragged, which has its own.

        Returns
        -------
        y : numpy.ndarray, shape (N, T, D*H), or Ragged over the offsets of `x`
            The states of the last layer, directions side by side; 0 past a sequence's length.
        h_n : numpy.ndarray, shape (L*D, N, H)
            The states after each sequence's last valid step (of its first, in reverse direction).

        Notes
        -----
        With an `x` on a GPU, of any library with DLPack, all arrays lie there and are CuPy's, but that `lengths` may
        lie on either side; on the GPU they are cut to 0 to T instead of being checked. A float32 GRU multiplies float16
        and bfloat16 arrays as such, with float32 sums, and gives arrays of their type. Outputs are repeatable there,
        but may depend on the batch in their last bits.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the message names it, what was expected and what came.
        """
        values, h0, lengths, offsets = self._inputs(x, h0, lengths)
        y, h_n = self._weights_beside(values).forward(values, h0, lengths, offsets)
        return (y if offsets is None else Ragged._over(y, offsets)), h_n

    def final_states(
        self, x: ArrayLike | Ragged, h0: ArrayLike | None = None, *, lengths: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Run over a batch of sequences for their final states alone: a plain call's h_n without the memory for y.

        Parameters
        ----------
        x, h0, lengths
            As in a plain call.

        Returns
        -------
        numpy.ndarray, shape (L*D, N, H)
            The states after each sequence's last valid step (of its first, in reverse direction).

        Raises
        ------
        TypeError, ValueError
            As in a plain call.
        """
        values, h0, lengths, offsets = self._inputs(x, h0, lengths)
        states: NDArray[Any] = self._weights_beside(values).final_states(values, h0, lengths, offsets)
        return states

    @overload
    def record(
        self, x: Ragged, h0: ArrayLike | None = None, *, checkpoint: int | None = None
    ) -> tuple[Ragged, NDArray[Any], Tape[Ragged]]: ...
    @overload
    def record(
        self,
        x: ArrayLike,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        checkpoint: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any], Tape[NDArray[Any]]]: ...
    def record(
        self,
        x: ArrayLike | Ragged,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        checkpoint: int | None = None,
    ) -> tuple[NDArray[Any] | Ragged, NDArray[Any], Tape[Any]]:
        """Run over a batch of sequences, with dropout between layers, keeping what the backward pass needs.

        Parameters
        ----------
        x, h0, lengths
            As in a plain call. The tape keeps `x` by reference where it needed no conversion: do not change it before
            `Tape.backward`.
        checkpoint : int, optional
            Keep only every so-many-th state (rounded up to a multiple of 128) instead of all gates, and compute the
            rest again on the way back: less memory for about a third more time, and the same bits. The square root of
            the number of steps needs least. Not for a bidirectional GRU.

        Returns
        -------
        y : numpy.ndarray, shape (N, T, D*H), or Ragged over the offsets of `x`
            As in a plain call, but read-only without `checkpoint`, since the tape needs it. On a GPU it cannot be made
            so: do not write to it before `Tape.backward`. There `checkpoint` is refused.
        h_n : numpy.ndarray, shape (L*D, N, H)
        tape : rgru.nn.Tape
            Its ``backward(dy, dh_n)`` gives the gradients with respect to the parameters as they are now.

        Raises
        ------
        TypeError, ValueError
            As in a plain call.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> y, h_n, tape = rgru.GRU(3, 8, seed=0).record(np.zeros((2, 5, 3), np.float32))
        >>> tape.backward(np.ones_like(y)).x.shape
        (2, 5, 3)
        """
        values, h0, lengths, offsets = self._inputs(x, h0, lengths)
        if checkpoint is not None:
            checkpoint = as_int("checkpoint", checkpoint, 1)
            if self.bidirectional:
                raise ValueError(f"checkpoint: expected None for a GRU with bidirectional=True, got {checkpoint}")
        weights = self._weights_beside(values, training=True)
        y, h_n, tape = weights.forward_tape(values, h0, lengths, offsets, self._dropout, self._mask_seed(), checkpoint)
        wrapped: Tape[Any] = Tape(tape, self._layout, y.dtype, offsets, _real_beside(values))
        return (y if offsets is None else Ragged._over(y, offsets)), h_n, wrapped

    def stream(self, batch_size: int = 1, h0: ArrayLike | None = None) -> Stream:
        """Begin sequences whose steps come one at a time.

        Parameters
        ----------
        batch_size : int, default 1
            N, the number of sequences that run side by side.
        h0 : array_like, shape (L, N, H), optional
            The states before the first step; zero by default.

        Returns
        -------
        rgru.nn.Stream
            It runs with the parameters as they are now, whatever becomes of them later.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or this GRU is bidirectional: the reverse direction begins at the end.
        """
        if self.bidirectional:
            raise ValueError("stream: expected a GRU with bidirectional=False, got bidirectional=True")
        stream = Stream(self._weights(), as_int("batch_size", batch_size, 1), self._dtype)
        if h0 is not None:
            stream._set_state("h0", h0)
        return stream

    def _inputs(
        self, x: ArrayLike | Ragged, h0: ArrayLike | None, lengths: ArrayLike | None
    ) -> tuple[Any, Any, Any, NDArray[np.int64] | None]:
        """Give x, h0, lengths and offsets as the core takes them, or the GPU's, their sizes unchecked."""
        values: Any = x.values if isinstance(x, Ragged) else x
        real, dtype = as_real, self._dtype
        if on_gpu(values):
            from rgru._cuda import arrays

            values = arrays.as_cupy("x", values)
            real, dtype = _real_beside(values), arrays.compute_type(values.dtype, dtype)
        if h0 is not None:
            h0 = real("h0", h0, dtype, 3, "(L*D, N, H)")
        if not isinstance(x, Ragged):
            index = None if lengths is None else _as_lengths(lengths, values)
            return real("x", values, dtype, 3, "(N, T, I)"), h0, index, None
        if lengths is not None:
            raise ValueError(f"lengths: expected None with a Ragged x, whose offsets give them, got {lengths!r}")
        return real("x", values, dtype), h0, None, x.offsets

    def _mask_seed(self) -> int:
        """Give the next seed for dropout masks: SplitMix64 (Steele et al. 2014), begun at the GRU's seed."""
        if not self._dropout:
            return 0
        with self._lock:
            self._masks += 1
            state = (self._seed + self._masks * 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31

    # -- leaving and coming back -----------------------------------------------------------------------------------

    @classmethod
    def _from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, ArrayLike]) -> GRU:
        """Make one of its `_config` and all its parameters by name; no initial values are drawn."""
        gru = cls.__new__(cls)
        Settings.__init__(gru, **config)
        gru._begin(int.from_bytes(os.urandom(8), "little"))
        if set(tensors) != set(gru._layout):
            missing, strange = sorted(set(gru._layout) - set(tensors)), sorted(set(tensors) - set(gru._layout))
            raise ValueError(f"tensors: expected those of {gru!r}; missing are {missing}, unexpected {strange}")
        size = sum(math.prod(shape) for shape, _ in gru._layout.values())
        given = sum(np.size(array) for array in tensors.values())
        if given != size:  # before any memory is taken for sizes that a damaged file may claim
            raise ValueError(f"tensors: expected {size} numbers in all for {gru!r}, got {given}")
        gru._flat = np.empty(size, gru._dtype)
        gru.params.update(tensors)
        return gru

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the GRU to a safetensors file; `rgru.load` reads it.

        The file holds the parameters by name and the constructor's arguments but for the seed. It appears whole or not
        at all: an existing file stays as it is until the new one is complete. Equal GRUs give equal bytes.

        Parameters
        ----------
        path : path_like
            By custom ending in ``.safetensors``.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from rgru._files.model_file import save

        save(path, dict(self.params), self._config, kind="GRU")

    def to_torch(self) -> Any:
        """Give a `torch.nn.GRU` (batch first) with the same outputs; see `rgru.convert.torch.to_torch`."""
        from rgru.nn._to_torch import to_torch

        return to_torch(self, self.params)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"], state["_packed"], state["_on_gpus"], state["_captured"]
        state["_flat"] = self._flat.copy()  # a shallow copy must not share what it can change
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._flat = own(self._flat)
        self._lock = Lock()
        self._packed = None
        self._on_gpus = {}
        self._captured = []


def _real_beside(values: Any) -> Any:
    """Give the judge of arrays that have to lie where `values` does."""
    if type(values) is np.ndarray:
        return as_real
    from rgru._cuda import arrays

    return partial(arrays.as_real, gpu=values.device.id)


def _as_lengths(lengths: Any, values: Any) -> Any:
    """Lengths on the host or, beside values on a GPU, there too."""
    if not (on_gpu(values) and on_gpu(lengths)):
        return as_index("lengths", lengths)
    from rgru._cuda import arrays

    return arrays.as_lengths(lengths, values.device.id)
