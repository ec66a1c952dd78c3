"""Types of the compiled core.

Private: use the names of the `rgru` package. Every array is a native-endian NumPy array. Arrays of real numbers are
float32 or float64 and must have the weights' precision; those marked C are C-contiguous. The package converts users'
arguments before it calls these; sizes are checked here and raise ValueError with the argument's name.
"""

from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Real: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Index: TypeAlias = NDArray[np.int64]

__all__ = [
    "Adam",
    "ArrowColumn",
    "Sessions",
    "Stream",
    "Tape",
    "Weights",
    "__version__",
    "activate",
    "arrow_numbers",
    "arrow_sequences",
    "arrow_texts",
    "available_isas",
    "cosine_decay",
    "cross_entropy",
    "dropout_key",
    "fixed_width_keys",
    "get_num_threads",
    "initial",
    "initial_embeddings",
    "is_arrow_sequences",
    "isa",
    "layout",
    "linear",
    "linear_backward",
    "mean_over_time",
    "mean_squared_error",
    "measure",
    "normalise",
    "normalise_backward",
    "object_keys",
    "set_num_threads",
    "softmax",
    "standardise",
    "with_embedding_gradient",
]

__version__: str

@final
class Weights:
    """Immutable snapshot of all parameters of a GRU, packed for the kernels; shared freely between threads."""

    def __new__(
        cls,
        params: _Real,  # (P,) C: all tensors of `layout`, concatenated
        sizes: dict[str, Any],  # all of `rgru.nn._settings.Settings._sizes`
        *,
        training: bool,  # pack what `Tape.backward` needs too
    ) -> Weights: ...
    @staticmethod
    def with_ids(
        params: _Real,  # as above
        sizes: dict[str, Any],  # input_size counts the features of an embedding in the place of the id
        embeddings: _Real,  # (V, E) C
    ) -> Weights: ...  # for inference: x has an id in the place of the first E features
    @property
    def training(self) -> bool: ...
    def forward(
        self,
        x: _Real,  # (N, T, I) C, or (S, I) C with offsets
        h0: _Real | None,  # (L*D, N, H) C
        lengths: _Index | None,  # (N,) C, for padded x only
        offsets: _Index | None,  # (N + 1,) C, for ragged x only
    ) -> tuple[Any, Any]: ...  # y (N, T, D*H) or (S, D*H); h_n (L*D, N, H)
    def final_states(
        self, x: _Real, h0: _Real | None, lengths: _Index | None, offsets: _Index | None
    ) -> Any: ...  # only h_n (L*D, N, H) of `forward`
    def forward_tape(
        self,
        x: _Real,
        h0: _Real | None,
        lengths: _Index | None,
        offsets: _Index | None,
        dropout: float,  # between layers, [0, 1)
        seed: int | None,  # of the masks of dropout and zoneout, 64 bits unsigned; None for no masks
        checkpoint: int | None,  # keep only every `checkpoint`-th state; unidirectional stacks
    ) -> tuple[Any, Any, Tape]: ...  # y is read-only without checkpoint: the tape needs it

@final
class Tape:
    """The record of one `forward_tape` for the backward pass; refers to x and (without checkpoint) y."""

    def backward(
        self,
        dy: _Real | None,  # as y, C
        dh_n: _Real | None,  # (L*D, N, H) C
    ) -> tuple[Any, Any, Any]: ...  # dx as x, dh0 (L*D, N, H), dparams (P,) in the order of `layout`
    def layers(
        self,
    ) -> list[tuple[list[Any], Any | None]]: ...  # by layer: of each direction r, z, candidate, product (R, 4H),
    # and the states (R, D*H), None if they are y; R steps, padding not included; not with checkpoint

@final
class Stream:
    """State of `batch_size` running sequences of a unidirectional stack."""

    def __new__(cls, weights: Weights, batch_size: int) -> Stream: ...
    def step(self, x: _Real) -> Any: ...  # (N, I) C -> (N, H)
    def restart(self, n: int) -> None: ...  # sets sequence n to the initial states
    def get_state(self) -> Any: ...  # (L, N, H)
    def set_state(self, h: _Real) -> None: ...  # (L, N, H) C

@final
class Sessions:
    """States of many running sequences of a unidirectional stack, by key.

    Keys are int64 (M,) with offsets None, or concatenated uint8, key n from offsets[n] to offsets[n + 1], all C.
    """

    def __new__(cls, weights: Weights, max_sessions: int | None, timeout: float | None, half: bool) -> Sessions: ...
    def __len__(self) -> int: ...
    @property
    def clock(self) -> float: ...  # the latest time so far
    def step(
        self,
        keys: NDArray[Any],
        offsets: _Index | None,
        x: _Real,  # (M, I) C
        times: float | NDArray[np.float64] | None,  # one for all events, or (M,) C; None without a timeout
    ) -> Any: ...  # (M, H)
    def has(self, keys: NDArray[Any], offsets: _Index | None) -> NDArray[np.bool_]: ...  # (M,)
    def states(self, keys: NDArray[Any], offsets: _Index | None) -> Any: ...  # (L, M, H); KeyError has the position
    def drop(self, keys: NDArray[Any], offsets: _Index | None) -> int: ...  # the number of ended sessions
    def expire(self, now: float) -> int: ...  # the number of ended sessions; only with a timeout
    def clear(self) -> None: ...
    def places(self) -> NDArray[np.uint32]: ...  # of all sessions; if bounded, the least recently used first
    def integers(self, places: NDArray[np.uint32]) -> _Index: ...  # keys
    def texts(self, places: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], _Index]: ...  # keys and offsets
    def times(self, places: NDArray[np.uint32]) -> NDArray[np.float64]: ...  # of the last events; with a timeout
    def kept(self, places: NDArray[np.uint32]) -> Any: ...  # states (M, L, H), uint16 for float16
    def restore(
        self,
        keys: NDArray[Any],
        offsets: _Index | None,
        states: NDArray[Any],  # as `kept` returns them, C
        times: NDArray[np.float64] | None,  # with a timeout, ascending
        clock: float,
    ) -> None: ...  # after an error some of them may be restored

@final
class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) over lists of arrays, with clipping by the global norm."""

    def __new__(cls, lr: float, beta1: float, beta2: float, eps: float) -> Adam: ...
    lr: float
    def step(
        self,
        params: list[Any],  # writable C arrays of one precision, changed in place; same shapes every call
        grads: list[Any],  # arrays of the same shapes
        max_norm: float | None,  # clip all gradients to this global L2 norm
    ) -> float: ...  # the norm before clipping

@final
class ArrowColumn:
    """An Arrow array of results, for any library with the Arrow PyCapsule interface."""

    @property
    def null_count(self) -> int: ...
    @property
    def type(self) -> str: ...
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> Any: ...
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> Any: ...

def arrow_sequences(
    column: object,  # with __arrow_c_stream__ or __arrow_c_array__
    *,
    name: str,  # for errors
    width: int | None,  # I, if the data do not determine it or, with null_on_error, if their widths differ
    dtype: str | None,  # "float32" | "float64"; None: float32 if all numbers are
    first: int,  # number of the first row, for errors
    null_on_error: bool,  # leave invalid rows empty and return which they are, instead of raising
) -> tuple[
    Any,  # values (S, I)
    Any,  # offsets (N + 1,) int64
    Any,  # if null_on_error (N,) bool, else None
    list[str] | None,  # the features' names, if they have names and S > 0
]: ...
def is_arrow_sequences(kind: Any, *, typed: bool) -> bool: ...  # whether arrow_sequences reads an __arrow_c_schema__
def arrow_numbers(
    values: NDArray[Any],  # (M,) or (M, K) C: integers, floats; (M,) also booleans; kept, not copied
    *,
    places: _Index | None,  # (N + 1,): lists of rows values[places[n]:places[n + 1]]
    valid: NDArray[np.bool_] | None,  # (N,): False for null
) -> ArrowColumn: ...
def arrow_texts(
    texts: list[str],
    codes: _Index,  # (N,): positions in texts
    *,
    valid: NDArray[np.bool_] | None,  # (N,)
) -> ArrowColumn: ...
def layout(
    sizes: dict[str, Any],
) -> list[tuple[str, tuple[int, ...], int]]: ...  # name, shape, offset in the flat array; checks the sizes
def initial_embeddings(
    count: int, *, seed: int, dtype: str
) -> Any: ...  # (count,): uniform with mean 0 and deviation 1
def dropout_key(seed: int) -> bytes: ...  # 32 bytes: the ChaCha8 key of the masks of a seed
def initial(
    sizes: dict[str, Any],
    *,
    seed: int,
    dtype: str,  # "float32" | "float64"
) -> Any: ...  # (P,): glorot uniform W, orthogonal U, zero b; same values on every platform
def fixed_width_keys(
    array: NDArray[np.uint32] | NDArray[np.uint8],  # (M, width) C: UTF-32, or bytes; trailing zeros are ignored
) -> tuple[Any, Any, Any]: ...  # "str" or "bytes", keys, offsets
def object_keys(
    objects: NDArray[np.object_],  # (M,) C: all int, all str or all bytes
) -> tuple[Any, Any, Any]: ...  # kind, keys, offsets or None
def linear(x: _Real, weight: _Real, bias: _Real) -> Any: ...  # (M, K), (O, K), (O,) all C -> (M, O) = x W^T + b
def linear_backward(
    x: _Real, weight: _Real, dy: _Real
) -> tuple[Any, Any, Any]: ...  # dx (M, K), dweight (O, K), dbias (O,)
def with_embedding_gradient(
    cells: _Real,  # (P,) C: the gradient of the other parameters
    rows: _Real,  # (R, K) C: the gradient of the cells' inputs, of which the first `embedding_size` are the embedding's
    ids: _Index,  # (R,): rows with an id outside 0..vocabulary are left out
    vocabulary: int,
    embedding_size: int,
) -> Any: ...  # (P + vocabulary * embedding_size,): the rows of an id are added in their order
def mean_over_time(y: _Real, offsets: _Index) -> Any: ...  # (S, K) C, (N + 1,) -> (N, K); 0 for empty sequences
def cosine_decay(done: float) -> float: ...  # from 1 at 0 to 0 at 1
def measure(x: _Real) -> tuple[Any, Any]: ...  # (M, F) C -> mean and scale (F,) float64; scale 1 for constant columns
def standardise(
    x: _Real, mean: NDArray[np.float64], scale: NDArray[np.float64], dtype: str
) -> Any: ...  # (M, F), (F,), (F,) all C -> (M, F) of `dtype`: (x - mean) / scale in float64, rounded once
def activate(x: _Real, activation: str | tuple[str | float, ...]) -> Any: ...  # any shape, C -> the same
def normalise(
    x: _Real, epsilon: float
) -> tuple[Any, Any]: ...  # (M, K) C -> (x - mean) / sqrt(variance + epsilon) of each row, and 1 / these roots (M,)
def normalise_backward(dy: _Real, y: _Real, scales: _Real) -> Any: ...  # (M, K), and both results of `normalise` -> dx
def softmax(logits: _Real) -> Any: ...  # (M, C) C -> (M, C)
def cross_entropy(
    logits: _Real, targets: _Index
) -> tuple[float, Any]: ...  # (M, C), (M,) -> mean loss in nats, dlogits
def mean_squared_error(
    prediction: _Real, target: _Real
) -> tuple[float, Any]: ...  # (M, O) twice -> mean over all M*O, d
def set_num_threads(n: int | None) -> None: ...  # None: back to RGRU_NUM_THREADS, OMP_NUM_THREADS, physical cores
def get_num_threads() -> int: ...
def isa() -> str: ...  # "avx512" | "avx2" | "neon" | "portable"
def available_isas() -> list[str]: ...  # best first
