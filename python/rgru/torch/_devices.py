"""The device of tensors: their numbers as arrays of its backend, and back, without copies where that is possible."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rgru._backends import CPU, find_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rgru._backends.base import Backend


_CPU = nullcontext()


def backend_of(tensor: Any) -> Backend:
    """Return the backend of a tensor's device.

    Raises
    ------
    ImportError, RuntimeError
        If it is a GPU that rgru cannot use; the message says what is missing.
    """
    return CPU if tensor.is_cpu else find_backend(f"cuda:{tensor.get_device()}")


def here(tensor: Any) -> AbstractContextManager[object]:
    """Make a tensor's device the current one in a block, with the stream that is PyTorch's current one."""
    return _CPU if tensor.is_cpu else _on_stream(tensor)


@contextmanager
def _on_stream(tensor: Any) -> Iterator[None]:
    backend = backend_of(tensor)
    stream = torch.cuda.current_stream(tensor.device).cuda_stream
    with backend.here(), backend.xp.cuda.ExternalStream(stream, tensor.get_device()):
        yield


def as_array(tensor: Any, dtype: Any) -> Any:
    """Return a tensor's numbers, C-contiguous."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg():  # the gradient of a complex number's imaginary part may wait for its sign
        tensor = tensor.resolve_neg()
    array = _array(tensor if tensor.dtype == dtype else tensor.to(dtype))
    return array if array.flags.c_contiguous else backend_of(tensor).xp.ascontiguousarray(array)


def as_tensor(array: Any, dtype: Any) -> Any:
    """Return an array's numbers as a tensor."""
    tensor = _tensor(array)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _array(tensor: Any) -> Any:
    # On PyTorch's current stream, in whose order its memory is used again: the tensor may go before the work is done.
    return tensor.numpy() if tensor.is_cpu else backend_of(tensor).xp.from_dlpack(tensor)


def _tensor(array: Any) -> Any:
    return torch.from_numpy(array) if type(array) is np.ndarray else torch.from_dlpack(array)
