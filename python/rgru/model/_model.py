"""A model: layers in a row, from sequences to a row of numbers for each sequence, or for each step."""

from __future__ import annotations

from collections import deque
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rgru._backends import CPU, find_backend
from rgru._data.ragged import Ragged
from rgru._files.pretrained import Pretrained
from rgru._validation.scalars import as_int
from rgru.model._chain import Chain
from rgru.model._device_parameters import DeviceParameters
from rgru.model._inputs import as_batch
from rgru.model._layer import Flow

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from rgru._backends.base import Backend
    from rgru.model._activation import Activation, Dropout
    from rgru.model._layer_norm import LayerNorm
    from rgru.model._linear import Linear
    from rgru.model._pool import Pool
    from rgru.nn._gru import GRU

    AnyLayer: TypeAlias = "GRU | Activation | Dropout | LayerNorm | Linear | Pool"

Loss: TypeAlias = "Callable[[Any, Any], tuple[Any, Any]]"
"""A function of outputs (M, O) and targets, on a device, to the mean loss and its gradient by the outputs (M, O)."""

_NUMBERS_PER_PIECE = 2**23
"""The approximate number of outputs of a layer computed at once in predictions, which bounds their memory."""


class Model(Pretrained):
    """GRUs with the layers before and after them, such as an embedding, normalisation and a head.

    Parameters
    ----------
    layers : list of rgru.GRU and layers of rgru.model
        The layers, from the input on; they are not copied. All are of one dtype, at least one is a GRU, and each takes
        the features that the one before has. `rgru.model.Pool` turns the steps of a sequence into one row, and GRUs
        come before it. Only the first layer may read ids (a GRU with a `vocabulary`).
    seed : int, default 0
        The seed of the masks of `rgru.model.Dropout`.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> from rgru.model import Activation, Linear, Pool
    >>> gru = rgru.GRU(12, 32, seed=0)
    >>> model = rgru.Model([gru, Pool("last"), Linear(32, 9, seed=0), Activation("softmax")])
    >>> model(np.zeros((4, 20, 12), np.float32)).shape
    (4, 9)
    >>> rgru.Model([rgru.GRU(12, 32), Linear(32, 2)])(np.zeros((4, 20, 12), np.float32)).shape  # for every step
    (4, 20, 2)
    """

    def __init__(self, layers: Sequence[AnyLayer], *, seed: int = 0) -> None:
        self._chain = Chain(layers)
        # A stream of its own, also where the initial weights of a layer have the same seed.
        self._rng = np.random.default_rng((as_int("seed", seed, 0, 2**64 - 1), 1))
        self._backend: Backend = CPU
        self._resident: DeviceParameters | None = None  # the current parameters, within `_on_device`

    @property
    def layers(self) -> tuple[AnyLayer, ...]:
        """The layers, from the input on."""
        return self._chain.layers

    @property
    def input_size(self) -> int:
        """I, the features of a step."""
        return self._chain.input_size

    @property
    def output_size(self) -> int:
        """O, the numbers of a row of the output."""
        return self._chain.output_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of all numbers: float32 or float64."""
        return self._chain.dtype

    @property
    def every(self) -> bool:
        """Whether there is a row of output for every step, since no layer pools."""
        return self._chain.every

    @property
    def device(self) -> str:
        """The device that computes: "cpu", or a GPU such as "cuda:0". Inputs and outputs are on the host."""
        return self._backend.device

    @device.setter
    def device(self, name: str) -> None:
        self._backend = find_backend(name)

    def __call__(self, x: ArrayLike | Ragged, *, lengths: ArrayLike | None = None) -> Any:
        """Compute the outputs.

        Parameters
        ----------
        x : array_like, shape (N, T, I), or Ragged with I features
            Inputs, converted as `rgru.GRU` converts them.
        lengths : array_like of int, shape (N,), optional
            Number of valid steps of each sequence, from 0 to T; T by default. A Ragged takes none.

        Returns
        -------
        numpy.ndarray, shape (N, O), or (N, T, O) or a Ragged without pooling
            On the CPU the bits of a row depend on its sequence alone, not on the others in `x`.

        Raises
        ------
        ValueError
            If the number of features is not the model's, or the lengths do not fit.
        """
        batch = as_batch(self._chain, x, lengths)
        outputs = self._predict(batch)
        if not self.every:
            return outputs
        ragged = Ragged._over(outputs, batch.offsets)
        return ragged if isinstance(x, Ragged) else ragged.to_padded(np.shape(x)[1])[0]

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file; `rgru.load` reads it.

        The file holds all layers with their parameters. It is replaced atomically: an existing file stays as it is
        until the new one is complete. Equal models yield equal bytes.

        Parameters
        ----------
        path : path_like
            The file, by convention with the suffix ``.safetensors``.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from rgru._files.model_file import save

        save(path, self._chain.tensors, self._chain.config, kind="Model")

    def to_onnx(self, path: str | os.PathLike[str], *, lengths: bool = False) -> None:
        """Write the model as an ONNX model, which ONNX Runtime, OpenVINO and others run.

        Parameters
        ----------
        path : path_like
            The file, by convention with the suffix ``.onnx``. It is replaced when the new one is complete.
        lengths : bool, default False
            Whether the model has an input ``lengths`` (N,) of int32.

        Raises
        ------
        ValueError
            If a GRU has an option that ONNX lacks; see `rgru.convert.onnx.to_onnx`.
        ImportError
            If onnx is not installed.
        OSError
            If the file cannot be written.

        Notes
        -----
        The model has an input ``x`` (N, T, I), for ids alone (N, T) of int64, and an output ``y`` (N, O), or without
        pooling (N, T, O), which is 0 in padding. Axes N, ``batch``, and T, ``time``, are open. Dropout is left out. The
        opset is 13, of ONNX 1.8, or with a `rgru.model.LayerNorm` 17, of ONNX 1.12. Pooling of no steps is up to the
        runtime, unless `lengths` are 0 for mean or max.

        Examples
        --------
        >>> import os, tempfile
        >>> import onnx
        >>> import rgru
        >>> from rgru.model import Linear, Pool
        >>> model = rgru.Model([rgru.GRU(3, 8), Pool("last"), Linear(8, 2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.onnx")
        ...     model.to_onnx(path)
        ...     [node.op_type for node in onnx.load(path).graph.node]
        ['Transpose', 'GRU', 'Squeeze', 'Squeeze', 'MatMul', 'Add', 'Identity']
        """
        from rgru.model._to_onnx import to_onnx

        to_onnx(self._chain, path, lengths=lengths)

    @classmethod
    def _from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Restore a model from the contents of a file; raise KeyError, TypeError or ValueError."""
        return cls(Chain.from_saved(config, tensors).layers)

    # -- predictions -----------------------------------------------------------------------------------------------

    def _predict(self, x: Ragged, *, softmax: bool = False) -> NDArray[Any]:
        """Compute the outputs (N, O), or (S, O) without pooling, of sequences of the model's dtype."""
        [outputs] = self._predict_each([x], softmax=softmax)
        return outputs

    def _predict_each(self, batches: Iterable[Ragged], *, softmax: bool = False) -> Generator[NDArray[Any]]:
        """Compute the outputs of each of several batches; a GPU computes while the host prepares the next one.

        Parameters
        ----------
        batches : iterable of Ragged
            Batches as `_predict` takes them. On a CPU they are taken one by one, else one or two ahead of the results.
        softmax : bool, default False
            Whether to return the softmax of each row.

        Yields
        ------
        ndarray
            The result of `_predict` for each batch, in order.
        """
        backend = self._backend
        with backend.here():
            given = self._given(training=False)
        counts: deque[int] = deque()  # the number of pieces of each batch in flight

        def run(values: Any, offsets: NDArray[np.int64]) -> Any:
            flow = Flow(values, offsets)
            for layer, parameters in zip(self._chain.steps, given, strict=True):
                flow = layer._forward(backend, flow, parameters)
            return backend.softmax(flow.values) if softmax else flow.values

        def pieces() -> Iterator[Ragged]:
            for x in batches:
                cut = list(self._pieces(x))
                counts.append(len(cut))
                yield from cut

        outputs: list[NDArray[Any]] = []
        with closing(backend.each(run, pieces())) as results:
            for output in results:
                outputs.append(output)
                if len(outputs) == counts[0]:
                    whole = output if len(outputs) == 1 else np.concatenate(outputs)
                    outputs = []
                    counts.popleft()
                    yield whole

    def _pieces(self, x: Ragged) -> Iterator[Ragged]:
        """Split `x` between sequences into pieces whose layers have outputs of a bounded size.

        A sequence beyond that size is a piece of its own.
        """
        limit = max(1, _NUMBERS_PER_PIECE // self._chain.widest)
        offsets = x.offsets
        first = 0
        while True:
            last = int(np.searchsorted(offsets, offsets[first] + limit, side="right")) - 1
            last = min(max(last, first + 1), len(x))
            if first == 0 and last == len(x):
                yield x
            else:
                start, end = offsets[first], offsets[last]
                yield Ragged._over(x.values[start:end], offsets[first : last + 1] - start)
            if last == len(x):
                return
            first = last

    # -- training --------------------------------------------------------------------------------------------------

    def _host_parameters(self) -> list[NDArray[Any]]:
        """Return the model's own parameters, layer by layer, a GRU's as one array; call `_changed` after writing."""
        return [array for layer in self._chain.steps for array in layer._arrays]

    def _parameters(self) -> list[Any]:
        """Return the arrays that training updates, in the order of `_host_parameters`.

        Within `_on_device` they are arrays of the device, otherwise the model's own. Call `_changed` after writing to
        them.
        """
        return self._host_parameters() if self._resident is None else self._resident.arrays

    def _changed(self) -> None:
        """Invalidate packed weights after parameters were changed in place."""
        if self._resident is not None:
            self._resident.changed()
        for gru in self._chain.grus:
            gru._changed()

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Keep the parameters on the device within a block, to train them there.

        At the block's end, also after an error, they are copied into the model's own arrays; on the CPU they are
        these arrays. The device is the current one in the block. Not thread-safe.
        """
        with self._backend.here():
            self._resident = resident = DeviceParameters(self._backend, self._chain.steps)
            try:
                yield
            finally:
                self._resident = None
                try:
                    resident.bring_back()
                finally:
                    # Ctrl-C may have interrupted between a change of parameters and the call of `_changed`.
                    for gru in self._chain.grus:
                        gru._changed()

    def _loss_and_gradients(self, x: Ragged, targets: NDArray[Any], loss: Loss) -> tuple[Any, list[Any]]:
        """Compute the loss and the gradients of a training batch, with dropout.

        Parameters
        ----------
        x : Ragged
            N sequences, S steps, I features, of the model's dtype.
        targets : ndarray
            Targets for `loss`, one row for each row of the outputs: N, or S without pooling.
        loss : callable
            ``loss(outputs, targets) -> (mean loss, gradient by the outputs)``, over arrays of the device.

        Returns
        -------
        loss : float, or 0-d array of the device
        gradients : list of array of the device
            In the order and shapes of `_parameters`.
        """
        backend = self._backend
        with backend.here():
            given = self._given(training=True)
            flow, tapes = Flow(backend.array(x.values), x.offsets), []
            for layer, parameters in zip(self._chain.steps, given, strict=True):
                flow, tape = layer._record(backend, flow, parameters, self._rng)
                tapes.append(tape)
            value, d_outputs = loss(flow.values, backend.array(targets))
            d, gradients = Flow(d_outputs, flow.offsets), []
            for layer, tape, parameters in zip(self._chain.steps[::-1], tapes[::-1], given[::-1], strict=True):
                d, own = layer._backward(backend, tape, d, parameters)
                gradients.append(own)
            return value, [gradient for own in reversed(gradients) for gradient in own]

    def _given(self, *, training: bool) -> list[Any]:
        """Return the layers' parameters on the device, which is the current one."""
        if self._resident is not None:
            return self._resident.given()
        return [layer._on_device(self._backend, training=training) for layer in self._chain.steps]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_backend": None, "_resident": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _backend=CPU)

    def __repr__(self) -> str:
        return f"Model([{', '.join(map(repr, self.layers))}])"
