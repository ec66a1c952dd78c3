"""The modules in the place of `torch.nn.GRU` and `torch.nn.GRUCell`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import PackedSequence

import rgru.nn
from rgru._validation.scalars import as_bool
from rgru.nn._to_torch import TORCH_NAMES, torch_arrays
from rgru.torch._devices import here
from rgru.torch._ops import run
from rgru.torch._packing import EXACT, forget, packed_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self


class GRU(torch.nn.RNNBase):
    """A `torch.nn.GRU` that runs on rgru's kernels, forward and backward.

    Arguments, attributes, parameters with their initial values, inputs, outputs and errors are those of
    `torch.nn.GRU`, and so are the names and shapes of the state dict: each loads the other's checkpoints.

    Parameters
    ----------
    input_size : int
        I, the features of one step.
    hidden_size : int
        H, the units of each layer and direction.
    num_layers : int, default 1
        L; each layer reads the outputs of the one below.
    bias : bool, default True
        Whether the cells have biases.
    batch_first : bool, default False
        Whether sequences are (N, T, I), which is rgru's own layout, instead of (T, N, I).
    dropout : float, default 0.0
        The fraction of each layer's outputs that is dropped before the next layer, in train mode only. The generator of
        PyTorch seeds the masks, so that `torch.manual_seed` repeats them. At least 0 and below 1.
    bidirectional : bool, default False
        Whether each layer also runs over the sequences in reverse; D is then 2, else 1.
    device : torch.device, optional
        Where the parameters are, and the runs: the CPU, or an NVIDIA GPU by way of CuPy (experimental).
    dtype : torch.dtype, optional
        Type of the parameters. Those of float16 and bfloat16 run in float32, and outputs and gradients are rounded.
    reset_after : bool, default True
        Whether the reset gate applies after the recurrent product, as in `torch.nn.GRU`. The other cell, which
        is rgru's default, has parameters of the same names and shapes, and a checkpoint does not tell for which it is.

    Notes
    -----
    ``module(input, hx)`` takes a tensor (T, N, I), (N, T, I) with `batch_first`, or (T, I), or a
    `torch.nn.utils.rnn.PackedSequence`, and returns ``output`` and ``h_n`` as `torch.nn.GRU` does.

    It is a `torch.nn.RNNBase`, but no `torch.nn.GRU`, since `torch.compile` breaks its graph at each of these.

    Second derivatives raise NotImplementedError.

    Examples
    --------
    >>> import torch
    >>> import rgru.torch
    >>> gru = rgru.torch.GRU(3, 8, batch_first=True)
    >>> y, h_n = gru(torch.zeros(2, 5, 3))
    >>> y.shape, h_n.shape
    (torch.Size([2, 5, 8]), torch.Size([1, 2, 8]))
    >>> y.sum().backward()
    >>> gru.weight_hh_l0.grad.shape
    torch.Size([24, 8])
    """

    reset_after: bool = True

    def __init__(  # noqa: PLR0917 - as in torch.nn.GRU
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        reset_after: bool = True,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        super().__init__("GRU", *sizes, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype)
        check_dropout("dropout", self.dropout)
        self.reset_after = as_bool("reset_after", reset_after)

    def forward(self, input: Any, hx: Any | None = None) -> tuple[Any, Any]:  # noqa: A002 - PyTorch's name
        """Run over a batch of sequences; see `torch.nn.GRU`.

        Parameters
        ----------
        input : torch.Tensor or torch.nn.utils.rnn.PackedSequence
            (T, N, I), (N, T, I) with `batch_first`, or (T, I).
        hx : torch.Tensor, shape (L*D, N, H), or (L*D, H) with an `input` (T, I), optional
            States before the first step; zero by default.

        Returns
        -------
        output : torch.Tensor or torch.nn.utils.rnn.PackedSequence
            States of the last layer, in the form of `input`, with D*H features.
        h_n : torch.Tensor
            States after each sequence's last step, in the form of `hx`.
        """
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"GRU: Expected input to be 2D or 3D, got {input.dim()}D instead")
        _check_dimensions(input, hx)
        if input.dim() == 3:
            return self._run(input, hx, None, self.batch_first)
        one = 0 if self.batch_first else 1
        y, h_n = self._run(input.unsqueeze(one), None if hx is None else hx.unsqueeze(1), None, self.batch_first)
        return y.squeeze(one), h_n.squeeze(1)

    def flatten_parameters(self) -> None:
        """Read the parameters again at the next call.

        Changes by `torch.optim`, by ``load_state_dict`` or in place are noticed without it, and those through
        ``parameter.data`` too, unless they touch very few numbers and the next calls have few steps.
        """
        forget(self._weights())

    @classmethod
    def from_rgru(cls, gru: rgru.nn.GRU, *, batch_first: bool = True) -> Self:
        """Make a module with the parameters of a GRU, of either cell.

        Parameters
        ----------
        gru : rgru.GRU
            The GRU, without options that PyTorch lacks.
        batch_first : bool, default True
            As in the constructor.

        Returns
        -------
        GRU
            A module with a copy of the parameters.

        Raises
        ------
        ValueError
            If the GRU has such an option.
        """
        state = {name: torch.from_numpy(array) for name, array in torch_arrays(gru, gru.params).items()}
        module = cls(
            gru.input_size,
            gru.hidden_size,
            gru.num_layers,
            gru.bias,
            batch_first,
            gru.dropout,
            gru.bidirectional,
            dtype=getattr(torch, gru.dtype.name),
            reset_after=gru.reset_after,
        )
        module.load_state_dict(state)
        return module

    def to_rgru(self) -> rgru.nn.GRU:
        """Make a `rgru.GRU` with the parameters of the module, such as for files and streams.

        Returns
        -------
        rgru.GRU
            A GRU of float64 or, for all other types, of float32.
        """
        weights = self._weights()
        with here(weights[0]):
            packed = packed_weights(weights, self._cell, EXACT)
            params = packed.params()
        config = {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "reset_after": self.reset_after,
            "bias": self.bias,
            "dropout": self.dropout if self.num_layers > 1 else 0.0,
            "dtype": str(packed.dtype).removeprefix("torch."),
        }
        return rgru.nn.GRU._from_saved(config, params)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor, for `repr`.

        Returns
        -------
        str
            As of `torch.nn.GRU`, with `reset_after` if it is false.
        """
        return str(super().extra_repr()) + _reset_repr(self.reset_after)

    def _run_packed(self, packed: Any, hx: Any | None) -> tuple[Any, Any]:
        data, batch_sizes, order, back = packed
        if hx is not None:
            y, h_n = self._run(data, self.permute_hidden(hx, order), batch_sizes, False)
        else:
            self.check_input(data, batch_sizes)
            batch = int(batch_sizes[0]) if order is None else len(order)
            hx = data.new_zeros(self.num_layers * (1 + self.bidirectional), batch, self.hidden_size)
            y, h_n = self._run_checked(data, hx, batch_sizes, False)
        return PackedSequence(y, batch_sizes, order, back), self.permute_hidden(h_n, back)

    def _run(self, x: Any, hx: Any | None, batch_sizes: Any | None, batch_first: bool) -> tuple[Any, Any]:
        self.check_input(x, batch_sizes)
        if hx is not None:
            self.check_hidden_size(hx, self.get_expected_hidden_size(x, batch_sizes))
            _check_type(hx, x)
        return self._run_checked(x, hx, batch_sizes, batch_first)

    def _run_checked(self, x: Any, hx: Any | None, batch_sizes: Any | None, batch_first: bool) -> tuple[Any, Any]:
        dropout = self.dropout if self.training and self.num_layers > 1 else 0.0
        return run(x, hx, batch_sizes, self._weights(), self._cell, batch_first=batch_first, dropout=dropout)

    @property
    def _cell(self) -> tuple[bool, bool, bool]:
        return self.bias, self.bidirectional, self.reset_after

    def _weights(self) -> Sequence[Any]:
        return _weights(self, self._flat_weights_names)


class GRUCell(torch.nn.GRUCell):
    """A `torch.nn.GRUCell` that runs on rgru's kernels, forward and backward.

    Parameters
    ----------
    input_size : int
        I, the features of one step.
    hidden_size : int
        H, the units.
    bias : bool, default True
        Whether the cell has biases.
    device : torch.device, optional
        Where the parameters are, and the runs: the CPU, or an NVIDIA GPU by way of CuPy (experimental).
    dtype : torch.dtype, optional
        Type of the parameters, as in `rgru.torch.GRU`.
    reset_after : bool, default True
        Whether the reset gate applies after the recurrent product, as in `rgru.torch.GRU`.

    Notes
    -----
    ``cell(input, hx)`` takes an input (N, I) or (I,) and states (N, H) or (H,), zero by default, and returns the next
    states. For a whole sequence one call of `rgru.torch.GRU` is faster than one of a cell for each step.

    Examples
    --------
    >>> import torch
    >>> import rgru.torch
    >>> rgru.torch.GRUCell(3, 8)(torch.zeros(2, 3)).shape
    torch.Size([2, 8])
    """

    reset_after: bool = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        reset_after: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.reset_after = as_bool("reset_after", reset_after)

    def forward(self, input: Any, hx: Any | None = None) -> Any:  # noqa: A002 - PyTorch's name
        """Run one step; see `torch.nn.GRUCell`.

        Parameters
        ----------
        input : torch.Tensor, shape (N, I) or (I,)
            Inputs.
        hx : torch.Tensor, shape (N, H) or (H,), optional
            States before the step; zero by default.

        Returns
        -------
        torch.Tensor, shape (N, H) or (H,)
            States after the step.
        """
        for name, tensor in (("input", input), ("hidden", hx)):
            if tensor is not None and tensor.dim() not in (1, 2):
                raise ValueError(f"GRUCell: Expected {name} to be 1D or 2D, got {tensor.dim()}D instead")
        _check_dimensions(input, hx)
        if input.dim() == 2:
            return self._run(input, hx)
        return self._run(input.unsqueeze(0), None if hx is None else hx.unsqueeze(0)).squeeze(0)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor, for `repr`.

        Returns
        -------
        str
            As of `torch.nn.GRU`, with `reset_after` if it is false.
        """
        return str(super().extra_repr()) + _reset_repr(self.reset_after)

    def _run(self, x: Any, hx: Any | None) -> Any:
        weights = _weights(self, TORCH_NAMES if self.bias else TORCH_NAMES[:2])
        if x.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        _check_type(weights[0], x)
        if hx is not None:
            if hx.shape[-1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden0 has inconsistent hidden_size: got {hx.shape[-1]}, expected {self.hidden_size}"
                )
            if hx.shape[0] != x.shape[0]:
                raise RuntimeError(f"Input batch size {x.shape[0]} doesn't match hidden0 batch size {hx.shape[0]}")
            _check_type(hx, x)
        y, _ = run(x, hx, None, weights, (self.bias, False, self.reset_after), batch_first=True)
        return y


def check_dropout(name: str, dropout: float) -> None:
    """Refuse a dropout that drops everything.

    Raises
    ------
    ValueError
        If it is 1, which PyTorch allows.
    """
    if dropout >= 1:
        raise ValueError(f"{name}: expected less than 1, got {dropout}")


def _weights(module: Any, names: Sequence[str]) -> list[Any]:
    """Return the current weights: parameters, or what parametrisations and pruning have put in their place."""
    parameters = module._parameters  # looked up in this way faster than as attributes
    return [parameters[name] if name in parameters else getattr(module, name) for name in names]


def _check_dimensions(x: Any, hx: Any | None) -> None:
    """Check that states have as many dimensions as the input.

    Raises
    ------
    RuntimeError
        As in `torch.nn.GRU`, if not.
    """
    if hx is not None and hx.dim() != x.dim():
        raise RuntimeError(f"For {x.dim()}-D input, hx should also be {x.dim()}-D but got {hx.dim()}-D tensor")


def _check_type(tensor: Any, x: Any) -> None:
    """Check that states or weights have the type of the input; autocast may mix them.

    Raises
    ------
    ValueError
        If they have another.
    """
    if tensor.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"input, hx, weights: expected one dtype, got {x.dtype} and {tensor.dtype}")


def _reset_repr(reset_after: bool) -> str:
    """Return what `extra_repr` says of the cell."""
    return "" if reset_after else ", reset_after=False"
