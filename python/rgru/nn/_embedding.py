"""Ids as the first feature of inputs: the rows of an embedding in their place, and the gradients of these rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru.nn._ids import check_ids
from rgru.nn._modules import module_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rgru.nn._settings import Settings


def training_weights(make: Callable[..., Any], flat: Any, settings: Settings) -> Any:
    """Return packed weights that serve training.

    Parameters
    ----------
    make : callable
        Makes packed weights of the parameters of the cells and their sizes, ``make(flat, sizes, training=True)``.
    flat : array, shape (P,)
        All parameters of the GRU, on the device of `make`.
    settings : Settings
    """
    if settings.vocabulary is None:
        return make(flat, settings._core_sizes, training=True)
    cells = len(flat) - settings._embedding_numbers
    embedding = flat[cells:].reshape(settings.vocabulary, -1).copy()
    return EmbeddedWeights(make(flat[:cells], settings._core_sizes, training=True), embedding, settings.input_size)


class EmbeddedWeights:
    """Packed weights for inputs whose first feature is an id; with the interface of `_backends.base.PackedWeights`.

    Parameters
    ----------
    weights : object
        The packed weights of the cells, for inputs with the features of an embedding in the place of the id.
    embedding : array, shape (V, E)
        On the device of `weights`.
    features : int
        I, those of inputs.
    """

    training = True

    def __init__(self, weights: Any, embedding: Any, features: int) -> None:
        self._weights, self._embedding, self._features = weights, embedding, features

    def forward(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> tuple[Any, Any]:
        """Return y and h_n."""
        embedded, _ = self._embedded(x, lengths, offsets)
        return self._weights.forward(embedded, h0, lengths, offsets)  # type: ignore[no-any-return]

    def final_states(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> Any:
        """Return h_n."""
        embedded, _ = self._embedded(x, lengths, offsets)
        return self._weights.final_states(embedded, h0, lengths, offsets)

    def forward_tape(  # noqa: PLR0917 - as the core has it
        self, x: Any, h0: Any, lengths: Any, offsets: Any, dropout: float, seed: int | None, checkpoint: int | None
    ) -> tuple[Any, Any, EmbeddedTape]:
        """Return y, h_n and the tape."""
        embedded, ids = self._embedded(x, lengths, offsets)
        y, h_n, tape = self._weights.forward_tape(embedded, h0, lengths, offsets, dropout, seed, checkpoint)
        return y, h_n, EmbeddedTape(tape, ids, self._embedding.shape)

    @property
    def captured(self) -> bool:
        """Whether a captured graph uses the weights."""
        return bool(self._weights.captured)

    def _embedded(self, x: Any, lengths: Any, offsets: NDArray[np.int64] | None) -> tuple[Any, Any]:
        """Return the inputs of the cells, and the ids of their rows: V in the padding, for no id."""
        xp, count = module_of(x), len(self._embedding)
        if x.shape[-1] != self._features:
            raise ValueError(f"x: expected {self._features} features (input_size), got {x.shape[-1]}")
        inside = ~xp.zeros(x.shape[:-1], np.bool_)
        if lengths is not None and lengths.shape == x.shape[:1]:  # the core refuses others
            inside = xp.arange(x.shape[1]) < xp.asarray(lengths)[:, None]
        if xp is np:
            check_ids("x", x, count, offsets=offsets, inside=inside)
        numbers = x[..., 0]
        ids = xp.where((numbers >= 0) & (numbers < count), numbers, 0).astype(np.int64)
        wrong = ids != numbers
        rows = self._embedding[ids]
        if xp is not np:  # on a GPU nothing is refused, and what is no id becomes NaN
            rows = xp.where((wrong & inside)[..., None], float("nan"), rows).astype(x.dtype)
        embedded = rows if self._features == 1 else xp.concatenate([rows, x[..., 1:]], axis=-1)
        return embedded, xp.where(wrong, count, ids).reshape(-1)


class EmbeddedTape:
    """The tape of a run over embedded ids, with the gradient of the embedding.

    Parameters
    ----------
    core : object
        The tape of the cells.
    ids : array of int64, shape (R,)
        Of each row of the inputs; V for none.
    shape : tuple of int
        Of the embedding: (V, E).
    """

    def __init__(self, core: Any, ids: Any, shape: tuple[int, int]) -> None:
        self._core, self._ids, self._shape = core, ids, shape

    def backward(self, dy: Any, dh_n: Any) -> tuple[Any, Any, Any]:
        """Return dx, 0 for the ids, dh0 and dparams (P,)."""
        d_embedded, dh0, flat = self._core.backward(dy, dh_n)
        xp, (count, size) = module_of(flat), self._shape
        # On the host also for a GPU, which would add in any order.
        parts = flat, d_embedded, self._ids
        cells, rows, ids = parts if xp is np else [part.get() for part in parts]
        rows = rows.astype(flat.dtype, copy=False).reshape(len(ids), rows.shape[-1])
        gradient = _core.with_embedding_gradient(cells, rows, ids, count, size)
        dx = xp.concatenate([xp.zeros((*d_embedded.shape[:-1], 1), d_embedded.dtype), d_embedded[..., size:]], axis=-1)
        return dx, dh0, xp.asarray(gradient)

    def layers(self) -> Any:
        """Return the records of the cells, by layer."""
        return self._core.layers()


def split(flat: NDArray[Any], settings: Settings) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the parameters of the cells and the embedding (V, E), as views."""
    cells = len(flat) - settings._embedding_numbers
    return flat[:cells], flat[cells:].reshape(settings.vocabulary or 0, -1)


def with_embedding(
    layout: Mapping[str, tuple[tuple[int, ...], int]], settings: Settings
) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return the layout of all parameters for that of the cells'."""
    if settings.vocabulary is None:
        return dict(layout)
    end = sum(int(np.prod(shape)) for shape, _ in layout.values())
    return {**layout, "embedding": ((settings.vocabulary, settings.embedding_size or 0), end)}
