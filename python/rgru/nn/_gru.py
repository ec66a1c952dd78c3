"""The GRU layer: parameters, and the calls that run and differentiate it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from rgru import _core
from rgru._data.ragged import Ragged
from rgru._validation.arrays import as_index, as_real, on_gpu
from rgru._validation.keywords import suggests
from rgru._validation.scalars import as_bool, as_choice, as_int
from rgru.nn._held_parameters import HeldParameters
from rgru.nn._ids import as_features, check_ids
from rgru.nn._modules import device_of, module_of
from rgru.nn._pieces import MASKED, Pieces, PiecesWeights, directions_of
from rgru.nn._stream import Stream
from rgru.nn._tape import Tape
from rgru.nn._trace import Trace, layer_traces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from rgru._validation.activations import Activation


class GRU(HeldParameters):
    """A stack of gated recurrent units (Cho et al. 2014), batch first.

    Calls may run on several threads at once. If the parameters change meanwhile, it is undefined which of these calls
    use the new ones.

    Parameters
    ----------
    input_size : int
        I, the features of one step.
    hidden_size : int
        H, the units of each layer and direction.
    num_layers : int, default 1
        L; each layer reads the outputs of the one below.
    bidirectional : bool, default False
        Whether each layer also runs over the sequences in reverse, from their own last steps; D is then 2, else 1.
    reset_after : bool, default False
        Whether the reset gate applies after the recurrent product, as in PyTorch and cuDNN. Neither kind of cell can
        be converted into the other.
    bias : bool, default True
        Whether the cells have biases.
    dropout : float, default 0.0
        The fraction of each layer's outputs that is dropped before the next layer, in `record` only; plain calls and
        streams drop nothing. At least 0 and below 1, and 0 with a single layer.
    gate_activation : str or tuple, default "sigmoid"
        Activation of both gates: ``"sigmoid"``, or ``("hard_sigmoid", alpha, beta)``, which is
        min(max(alpha a + beta, 0), 1). Keras 2 has 0.2 and 0.5, Keras 3 has 1/6 and 0.5.
    activation : str or tuple, default "tanh"
        Activation of the candidate: ``"tanh"``, ``"relu"``, ``"linear"``, ``"softsign"``, ``"sigmoid"``,
        ``("elu", alpha)``, where ``"elu"`` has alpha 1, or ``("hard_sigmoid", alpha, beta)``.
    clip : float, optional
        Bound of the inputs of all activations, which are clipped to [-clip, clip], as in ONNX.
    zoneout : float, default 0.0
        The rate of zoneout (Krueger et al. 2017), at least 0 and below 1. In `record` each unit keeps its state in a
        step with this probability. In all other runs each new state is mixed from the old one, with this weight, and
        the computed one, as in haste.
    recurrent_dropout : float, default 0.0
        The fraction of units that are dropped from the states in the recurrent products, in `record` only. A sequence
        has one mask for all its steps (Gal and Ghahramani 2016), as in Keras 2. At least 0 and below 1.
    state_clip : float, optional
        Bound of the states, each of which is clipped to [-state_clip, state_clip], as in LFADS.
    layer_norm : {"separate", "sum"} or tuple, optional
        Layer normalisation (Ba et al. 2016) of the sums of all three gates together, with gains as parameters:
        ``"separate"`` normalises W x and U h each by itself, as in haste, ``"sum"`` W x + U h, as in DreamerV3. Only
        with ``reset_after=True``. A tuple of the form and an epsilon replaces the epsilon of these, 1e-5 and 1e-3.
    reverse : bool, default False
        Whether all layers run from each sequence's last step to its first. Outputs stay at their steps: ``y[:, 0]`` is
        the last state. D is 1.
    merge : {"concat", "sum", "mean", "product"}, default "concat"
        How the outputs of both directions of a layer become its output. All but ``"concat"`` have H features in place
        of 2H.
    learned_h0 : bool, default False
        Whether the initial states are parameters, ``layers.{k}.{fwd|rev}.h0``, initially zero. Runs without an `h0`,
        streams and sessions begin with them.
    vocabulary : int, optional
        V, the number of ids if the first feature of `x` is an id from 0 to V - 1, as a number of the GRU's dtype. With
        ``input_size=1`` ids may be of any type of numbers, and integers may lack the axis of the feature: (N, T). At
        most 2**24.
    embedding_size : int, optional
        E, the features of an id: the rows of the parameter ``embedding`` (V, E), which W is multiplied with in the
        place of the id. Inference looks up the products in a table of 3H numbers for each id, with the same bits.
        Initially uniform with mean 0 and deviation 1.
    dtype : dtype_like, default "float32"
        Type of parameters, inputs and outputs: float32 or float64.
    seed : int, optional
        From 0 to 2**64 - 1. The same seed yields the same initial parameters on every platform, and the same dropout
        masks in the same sequence of calls. By default drawn from the system's entropy.

    Notes
    -----
    Initial values: W glorot uniform and U orthogonal, each per gate; biases zero, gains one. With
    ``layer_norm="sum"`` the bias of the update gate is -1, as in DreamerV3.

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

    @suggests
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
        gate_activation: Activation = "sigmoid",
        activation: Activation = "tanh",
        clip: float | None = None,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        state_clip: float | None = None,
        layer_norm: str | tuple[str, float] | None = None,
        reverse: bool = False,
        merge: str = "concat",
        learned_h0: bool = False,
        vocabulary: int | None = None,
        embedding_size: int | None = None,
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
            gate_activation=gate_activation,
            activation=activation,
            clip=clip,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            state_clip=state_clip,
            layer_norm=layer_norm,
            reverse=reverse,
            merge=merge,
            learned_h0=learned_h0,
            vocabulary=vocabulary,
            embedding_size=embedding_size,
            dtype=dtype,
        )
        self._begin(int.from_bytes(os.urandom(8), "little") if seed is None else as_int("seed", seed, 0, 2**64 - 1))
        self._flat = _core.initial(self._core_sizes, seed=self._seed, dtype=self._dtype.name)
        if self.vocabulary is not None:
            count = self._embedding_numbers
            embedding = _core.initial_embeddings(count, seed=self._seed, dtype=self._dtype.name)
            self._flat = np.concatenate([self._flat, embedding])

    # -- running ---------------------------------------------------------------------------------------------------

    @overload
    def __call__(
        self,
        x: Ragged,
        h0: ArrayLike | None = None,
        *,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        all_layers: Literal[True],
    ) -> tuple[tuple[Ragged, ...], NDArray[Any]]: ...
    @overload
    def __call__(
        self,
        x: ArrayLike,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        all_layers: Literal[True],
    ) -> tuple[tuple[NDArray[Any], ...], NDArray[Any]]: ...
    @overload
    def __call__(
        self,
        x: Ragged,
        h0: ArrayLike | None = None,
        *,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        masked: str = "zero",
        all_layers: Literal[False] = False,
    ) -> tuple[Ragged, NDArray[Any]]: ...
    @overload
    def __call__(
        self,
        x: ArrayLike,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        masked: str = "zero",
        all_layers: Literal[False] = False,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def __call__(
        self,
        x: ArrayLike | Ragged,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        masked: str = "zero",
        all_layers: bool = False,
    ) -> tuple[Any, NDArray[Any]]:
        """Run over a batch of sequences.

        The output of a sequence has the same bits in any batch, padded, ragged or streamed, on any number of threads.

        Parameters
        ----------
        x : array_like, shape (N, T, I), or Ragged with I features
            Inputs of the GRU's dtype, or of one that converts to it without changing a value.
        h0 : array_like, shape (L*D, N, H), optional
            States before the first step, layer by layer, forward before reverse; by default zero, or the learned ones.
        lengths : array_like of int, shape (N,), optional
            Number of valid steps of each sequence, from 0 to T; T by default. Steps of `x` past it are never read. A
            Ragged has its own lengths and takes none.
        resets : array_like of bool, shape (N, T), or (S,) with a Ragged, optional
            Steps before which a sequence starts anew, from zero or the learned initial states. No gradient passes.
        mask : array_like of bool, shape (N, T), or (S,) with a Ragged, optional
            False for steps that are passed over: they are not read, and the states stay as they are.
        masked : {"zero", "repeat"}, default "zero"
            The outputs at masked steps: zero, or those of the step before (in the reverse direction, after it).
        all_layers : bool, default False
            Whether to return the outputs of all layers, as a tuple, in the place of `y`.

        Returns
        -------
        y : numpy.ndarray, shape (N, T, D*H), or Ragged over the offsets of `x`
            States of the last layer, forward then reverse in each row, or merged to H features; 0 past a sequence's
            length.
        h_n : numpy.ndarray, shape (L*D, N, H)
            States after each sequence's last valid step (after its first, in the reverse direction).

        Notes
        -----
        If `x` is on a GPU, as an array of any library with DLPack, the other arrays must be there too, and results are
        CuPy arrays. Only `lengths` may be on the host or on the GPU; on the GPU they are clipped to 0 to T instead of
        being checked. A float32 GRU multiplies float16 and bfloat16 arrays in their own type, sums in float32, and
        returns arrays of their type. On a GPU outputs are repeatable, but their last bits may depend on the batch.
        """
        if as_bool("all_layers", all_layers):
            if masked != "zero":
                raise ValueError(f"masked: expected 'zero' with all_layers=True, got {masked!r}")
            trace = self.trace(x, h0, lengths=lengths, resets=resets, mask=mask)
            return tuple(layer.y for layer in trace.layers), trace.h_n
        values, h0, lengths, offsets = self._inputs(x, h0, lengths, mask)
        weights = self._with_pieces(
            self._weights_for(values), values, lengths=lengths, offsets=offsets, resets=resets, mask=mask, masked=masked
        )
        with device_of(values):
            y, h_n = weights.forward(values, h0, lengths, offsets)
        return (y if offsets is None else Ragged._over(y, offsets)), h_n

    def final_states(
        self,
        x: ArrayLike | Ragged,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> NDArray[Any]:
        """Run over a batch of sequences and return only ``h_n`` of a plain call, without allocating ``y``.

        Parameters
        ----------
        x : array_like, shape (N, T, I), or Ragged with I features
            Inputs, as in a plain call.
        h0 : array_like, shape (L*D, N, H), optional
            States before the first step; by default zero, or the learned ones.
        lengths : array_like of int, shape (N,), optional
            Number of valid steps of each sequence, as in a plain call.
        resets, mask : array_like of bool, optional
            As in a plain call.

        Returns
        -------
        numpy.ndarray, shape (L*D, N, H)
            States after each sequence's last valid step (after its first, in the reverse direction).

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> rgru.GRU(3, 8).final_states(np.zeros((2, 5, 3), np.float32)).shape
        (1, 2, 8)
        """
        values, h0, lengths, offsets = self._inputs(x, h0, lengths, mask)
        weights = self._with_pieces(
            self._weights_for(values), values, lengths=lengths, offsets=offsets, resets=resets, mask=mask
        )
        with device_of(values):
            states: NDArray[Any] = weights.final_states(values, h0, lengths, offsets)
        return states

    @overload
    def record(
        self,
        x: Ragged,
        h0: ArrayLike | None = None,
        *,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        masked: str = "zero",
        checkpoint: int | None = None,
    ) -> tuple[Ragged, NDArray[Any], Tape[Ragged]]: ...
    @overload
    def record(
        self,
        x: ArrayLike,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        masked: str = "zero",
        checkpoint: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any], Tape[NDArray[Any]]]: ...
    def record(
        self,
        x: ArrayLike | Ragged,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        masked: str = "zero",
        checkpoint: int | None = None,
    ) -> tuple[NDArray[Any] | Ragged, NDArray[Any], Tape[Any]]:
        """Run over a batch of sequences, with dropout of both kinds and zoneout, keeping what the backward pass needs.

        Parameters
        ----------
        x : array_like, shape (N, T, I), or Ragged with I features
            Inputs, as in a plain call. The tape refers to `x` itself if it needed no conversion: do not change it
            before `Tape.backward`.
        h0 : array_like, shape (L*D, N, H), optional
            States before the first step; by default zero, or the learned ones.
        lengths : array_like of int, shape (N,), optional
            Number of valid steps of each sequence, as in a plain call.
        resets, mask : array_like of bool, optional
            As in a plain call.
        masked : {"zero", "repeat"}, default "zero"
            As in a plain call.
        checkpoint : int, optional
            Keep only every `checkpoint`-th state (rounded up to a multiple of 128) instead of all gates, and recompute
            the rest in the backward pass: less memory for about a third more time, and the same bits. The square root
            of the number of steps needs the least memory. Not for a GRU with a reverse direction, nor on a GPU.

        Returns
        -------
        y : numpy.ndarray, shape (N, T, D*H), or Ragged over the offsets of `x`
            As in a plain call, but read-only without `checkpoint`, since the tape needs it. Arrays on a GPU cannot be
            made read-only: do not write to `y` before `Tape.backward`.
        h_n : numpy.ndarray, shape (L*D, N, H)
            As in a plain call.
        tape : rgru.nn.Tape
            Record of the run: ``tape.backward(dy, dh_n)`` computes gradients at the current parameters.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> y, h_n, tape = rgru.GRU(3, 8, seed=0).record(np.zeros((2, 5, 3), np.float32))
        >>> tape.backward(np.ones_like(y)).x.shape
        (2, 5, 3)
        """
        values, h0, lengths, offsets = self._inputs(x, h0, lengths, mask)
        if checkpoint is not None:
            checkpoint = as_int("checkpoint", checkpoint, 1)
            for name, backward in (("bidirectional", self.bidirectional), ("reverse", self.reverse)):
                if backward:
                    raise ValueError(f"checkpoint: expected None for a GRU with {name}=True, got {checkpoint}")
        weights = self._weights_for(values, training=True)
        weights = self._with_pieces(
            weights, values, lengths=lengths, offsets=offsets, resets=resets, mask=mask, masked=masked
        )
        seed = self._mask_seed()
        with device_of(values):
            y, h_n, tape = weights.forward_tape(values, h0, lengths, offsets, self._dropout, seed, checkpoint)
        wrapped: Tape[Any] = Tape(tape, self._layout, y.dtype, offsets, _as_real_for(values))
        return (y if offsets is None else Ragged._over(y, offsets)), h_n, wrapped

    def trace(
        self,
        x: ArrayLike | Ragged,
        h0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Trace:
        """Run over a batch of sequences, and return the gates, candidate and state of every step, layer and unit.

        Parameters
        ----------
        x : array_like, shape (N, T, I), or Ragged with I features
            Inputs, as in a plain call.
        h0 : array_like, shape (L*D, N, H), optional
            States before the first step, as in a plain call.
        lengths : array_like of int, shape (N,), optional
            Number of valid steps of each sequence, as in a plain call.
        resets, mask : array_like of bool, optional
            As in a plain call.

        Returns
        -------
        rgru.nn.Trace
            The values of the steps, on the CPU with the bits of a plain call: ``trace.layers[0].fwd.z``.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> trace = rgru.GRU(3, 8, num_layers=2).trace(np.zeros((2, 5, 3), np.float32))
        >>> trace.layers[1].fwd.candidate.shape
        (2, 5, 8)
        """
        values, h0, lengths, offsets = self._inputs(x, h0, lengths, mask)
        pieces, xp = self._pieces(values, lengths, offsets, resets, mask), module_of(values)
        weights = PiecesWeights(self._weights_for(values, training=True), pieces, self, self.params, repeat=False)

        def in_form(rows: NDArray[Any]) -> NDArray[Any] | Ragged:
            whole: NDArray[Any] = pieces.outputs(xp.ascontiguousarray(rows))
            return whole if offsets is None else Ragged._over(whole, offsets)

        with device_of(values):
            y, h_n, tape = weights.forward_tape(values, h0, None, None, 0.0, None, None)
            return Trace(layer_traces(self, tape.layers(), pieces.inputs(y), in_form, xp), h_n)

    def stream(self, batch_size: int = 1, h0: ArrayLike | None = None) -> Stream:
        """Start sequences whose steps arrive one at a time.

        Parameters
        ----------
        batch_size : int, default 1
            N, the number of sequences that run in parallel.
        h0 : array_like, shape (L, N, H), optional
            States before the first step; by default zero, or the learned ones.

        Returns
        -------
        rgru.nn.Stream
            Running sequences, with a snapshot of the current parameters that later changes do not affect.

        Raises
        ------
        ValueError
            If this GRU has a reverse direction, which starts from the last step.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> stream = rgru.GRU(3, 8).stream(batch_size=2)
        >>> stream.step(np.zeros((2, 3), np.float32)).shape
        (2, 8)
        """
        for name, backward in (("bidirectional", self.bidirectional), ("reverse", self.reverse)):
            if backward:
                raise ValueError(f"stream: expected a GRU with {name}=False, got {name}=True")
        stream = Stream(self._weights(), as_int("batch_size", batch_size, 1), self)
        if h0 is not None:
            stream._set_state("h0", h0)
        return stream

    def _inputs(
        self, x: ArrayLike | Ragged, h0: ArrayLike | None, lengths: ArrayLike | None, mask: ArrayLike | None
    ) -> tuple[Any, Any, Any, NDArray[np.int64] | None]:
        """Return x, h0, lengths and offsets, converted for the core or the GPU; their sizes are not checked yet."""
        values: Any = x.values if isinstance(x, Ragged) else x
        real, dtype = as_real, self._dtype
        if on_gpu(values):
            from rgru._cuda import arrays

            values = arrays.as_cupy("x", values)
            if self.vocabulary is not None and values.dtype.itemsize < 4 and values.dtype.kind not in "iub":
                raise TypeError(f"x: expected {self._dtype} for ids, got {values.dtype.name}, which rounds them")
            real, dtype = _as_real_for(values), arrays.compute_type(values.dtype, dtype)
        if isinstance(x, Ragged):
            values = as_features(self, values, "(S, F)", offsets=x.offsets, mask=mask)
        else:
            index = None if lengths is None else _as_lengths(lengths, values)
            values = as_features(self, values, "(N, T, I)", lengths=index, mask=mask)
        if h0 is not None:
            h0 = real("h0", h0, dtype, 3, "(L*D, N, H)")
        if not isinstance(x, Ragged):
            return real("x", values, dtype, 3, "(N, T, I)"), h0, index, None
        if lengths is not None:
            raise ValueError(f"lengths: expected None with a Ragged x, whose offsets give them, got {lengths!r}")
        return real("x.values", values, dtype), h0, None, x.offsets

    def _with_pieces(
        self,
        weights: Any,
        values: Any,
        *,
        lengths: Any,
        offsets: NDArray[np.int64] | None,
        resets: ArrayLike | None,
        mask: ArrayLike | None,
        masked: str = "zero",
    ) -> Any:
        """Return the weights for runs over the pieces of a batch, or as they are without resets and mask."""
        if as_choice("masked", masked, MASKED) == "repeat" and self.merge != "concat":
            raise ValueError(f"masked: expected 'zero' for a GRU with merge={self.merge!r}, got 'repeat'")
        if resets is None and mask is None:
            return weights
        pieces = self._pieces(values, lengths, offsets, resets, mask)
        return PiecesWeights(weights, pieces, self, self.params, repeat=masked == "repeat")

    def _pieces(
        self,
        values: Any,
        lengths: Any,
        offsets: NDArray[np.int64] | None,
        resets: ArrayLike | None,
        mask: ArrayLike | None,
    ) -> Pieces:
        if values.shape[-1] != self.input_size:
            raise ValueError(f"x: expected {self.input_size} features (input_size), got {values.shape[-1]}")
        host = lengths.get() if lengths is not None and type(lengths) is not np.ndarray else lengths
        if host is not None and (host.shape != values.shape[:1] or (host > values.shape[1]).any() or (host < 0).any()):
            expected = f"({len(values)},) integers from 0 to {values.shape[1]}"
            raise ValueError(f"lengths: expected {expected}, got {host}")
        pieces = Pieces(values.shape[:-1], host, offsets, resets=resets, mask=mask, directions=directions_of(self))
        if self.vocabulary is not None and type(values) is np.ndarray:  # here with their places in the batch
            check_ids("x", values, self.vocabulary, offsets=offsets, inside=pieces.kept)
        return pieces

    # -- files, conversion -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the GRU to a safetensors file; `rgru.load` reads it.

        The file holds the parameters by name and the constructor's arguments except the seed. It is replaced
        atomically: an existing file stays as it is until the new one is complete. Equal GRUs yield equal bytes.

        Parameters
        ----------
        path : path_like
            The file, by convention with the suffix ``.safetensors``.

        Raises
        ------
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import rgru
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "gru.safetensors")
        ...     rgru.GRU(3, 8).save(path)
        ...     rgru.load(path)
        GRU(3, 8)
        """
        from rgru._files.model_file import save

        save(path, dict(self.params), self._config, kind="GRU")

    def to_torch(self) -> Any:
        """Make a `torch.nn.GRU` (batch first) with the same outputs; see `rgru.convert.torch.to_torch`.

        Returns
        -------
        torch.nn.GRU
            A module on the CPU.

        Examples
        --------
        >>> import torch
        >>> import rgru
        >>> rgru.GRU(3, 8, reset_after=True).to_torch()
        GRU(3, 8, batch_first=True)
        """
        from rgru.nn._to_torch import to_torch

        return to_torch(self, self.params)

    def to_onnx(self, path: str | os.PathLike[str], *, lengths: bool = False, h0: bool = False) -> None:
        """Write an ONNX model with the same outputs; see `rgru.convert.onnx.to_onnx`.

        Parameters
        ----------
        path : path_like
            The file, by convention with the suffix ``.onnx``.
        lengths, h0 : bool, default False
            Whether the model has inputs of these names.

        Examples
        --------
        >>> import os, tempfile
        >>> import onnx
        >>> import rgru
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "gru.onnx")
        ...     rgru.GRU(3, 8).to_onnx(path)
        ...     [one.name for one in onnx.load(path).graph.output]
        ['y', 'h_n']
        """
        from rgru.nn._to_onnx import to_onnx

        to_onnx(self, self.params, path, lengths=lengths, h0=h0)


def _as_real_for(values: Any) -> Any:
    """Return the validator for arrays that must be on the same device as `values`."""
    if type(values) is np.ndarray:
        return as_real
    from rgru._cuda import arrays

    return partial(arrays.as_real, gpu=values.device.id)


def _as_lengths(lengths: Any, values: Any) -> Any:
    """Validate lengths, which may be on the GPU if `values` are."""
    if not (on_gpu(values) and on_gpu(lengths)):
        return as_index("lengths", lengths)
    from rgru._cuda import arrays

    return arrays.as_lengths(lengths, values.device.id)
