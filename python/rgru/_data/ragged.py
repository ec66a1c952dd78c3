"""Sequences of different lengths in one array without padding."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._data.feature_names import common_names
from rgru._validation.arrays import (
    as_index,
    as_real,
    has_no_steps,
    is_arrow_column,
    on_device_of,
    on_gpu,
    refuse_masked_cells,
)
from rgru._validation.scalars import as_int, as_precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from rgru._data.feature_names import Names


class Ragged:
    """Concatenated sequences: sequence i is ``values[offsets[i]:offsets[i + 1]]``.

    Immutable, except for values on a GPU, which cannot be made read-only. Two objects are equal only if they are the
    same object; compare ``values`` and ``offsets`` to compare contents.

    Parameters
    ----------
    values : array_like of float, shape (S, F), or of int, shape (S,) or (S, 1)
        The steps of all sequences. Floats are kept without a copy if contiguous and native-endian; do not write to them
        afterwards. Integers, such as ids, become float64. Values may be on a GPU; the offsets stay on the host.
    offsets : array_like of int, shape (N + 1,)
        Start of each sequence, then the end of the last one: from 0, never descending, to S. Copied.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru import Ragged
    >>> sequences = Ragged(np.zeros((5, 2), np.float32), [0, 3, 3, 5])
    >>> sequences
    Ragged(3 sequences, 5 steps, 2 features, float32)
    >>> sequences.lengths.tolist()
    [3, 0, 2]
    """

    __slots__ = ("_feature_names", "_offsets", "_values")

    _values: NDArray[Any]
    _offsets: NDArray[np.int64]
    _feature_names: Names | None

    def __init__(self, values: ArrayLike, offsets: ArrayLike) -> None:
        array = _as_real("values", values, 2, "(S, F)")
        index = as_index("offsets", offsets, "(N + 1,)")
        _check_offsets(index, len(array))
        self._set(array, index.copy())

    def _set(self, values: NDArray[Any], offsets: NDArray[np.int64], feature_names: Names | None = None) -> None:
        if type(values) is np.ndarray:  # arrays on a GPU cannot be made read-only
            values = values.view()
            values.flags.writeable = False
        offsets.flags.writeable = False
        self._values, self._offsets, self._feature_names = values, offsets, feature_names

    @classmethod
    def _over(cls, values: NDArray[Any], offsets: NDArray[np.int64], feature_names: Names | None = None) -> Ragged:
        """Make a Ragged of contiguous `values` (S, F) over valid offsets, which are shared."""
        ragged = cls.__new__(cls)
        ragged._set(values, offsets, feature_names)
        return ragged

    @classmethod
    def from_list(
        cls, sequences: Iterable[ArrayLike], *, num_features: int | None = None, dtype: DTypeLike | None = None
    ) -> Ragged:
        """Concatenate arrays of different lengths.

        Parameters
        ----------
        sequences : iterable of array_like of float, each of shape (T_i, F), or of int, shape (T_i,) or (T_i, 1)
            The sequences. T_i may be 0; ``[]`` is a sequence without steps for any F. The features take the column
            names of tables, which must be the same in all. Integers become float64 without a `dtype`.
        num_features : int, optional
            F; required if no sequence determines it.
        dtype : dtype_like, optional
            Type of the result, to which each array must convert without changing a value. By default the widest of the
            arrays' types.

        Returns
        -------
        Ragged
            The N sequences, in their order.

        Examples
        --------
        >>> import numpy as np
        >>> from rgru import Ragged
        >>> Ragged.from_list([np.zeros((3, 2), np.float32), np.zeros((1, 2), np.float32)])
        Ragged(2 sequences, 4 steps, 2 features, float32)
        >>> Ragged.from_list([[3, 14, 15], [92]])  # ids
        Ragged(2 sequences, 4 steps, 1 feature, float64)
        """
        sequences = list(sequences)
        wanted = None if dtype is None else np.dtype(dtype)
        with_width = {i: one for i, one in enumerate(sequences) if not has_no_steps(one)}
        arrays = {
            i: as_real(f"sequences[{i}]", one, wanted, 2, "(T, F)", integers=True) for i, one in with_width.items()
        }
        first = min(arrays, default=None)
        if num_features is not None:
            width, source = as_int("num_features", num_features, 0), "num_features"
        elif first is not None:
            width, source = arrays[first].shape[1], f"sequences[{first}]"
        else:
            words = "no sequence determines it" if sequences else "sequences is empty"
            raise ValueError(f"num_features: expected a number, since {words}, got None")
        for i, array in arrays.items():
            if array.shape[1] != width:
                raise ValueError(f"sequences[{i}]: expected {width} features as {source}, got shape {array.shape}")
        offsets = _offsets(np.array([len(arrays.get(i, ())) for i in range(len(sequences))], np.int64))
        values = np.concatenate(list(arrays.values())) if arrays else np.zeros((0, width), wanted or np.float32)
        return cls._over(values, offsets, common_names("sequences", sequences))

    @classmethod
    def from_padded(cls, x: ArrayLike, lengths: ArrayLike) -> Ragged:
        """Copy the valid steps of a padded batch.

        Parameters
        ----------
        x : array_like of float, shape (N, T, F), or of int, shape (N, T) or (N, T, 1)
            The batch. Steps past a sequence's length are not read. Integers become float64.
        lengths : array_like of int, shape (N,)
            Number of valid steps of each sequence, from 0 to T.

        Returns
        -------
        Ragged
            The N sequences.

        Examples
        --------
        >>> import numpy as np
        >>> from rgru import Ragged
        >>> Ragged.from_padded(np.zeros((2, 5, 3), np.float32), [5, 2])
        Ragged(2 sequences, 7 steps, 3 features, float32)
        """
        array = _as_real("x", x, 3, "(N, T, F)")
        index = as_index("lengths", lengths)
        if len(index) != len(array):
            raise ValueError(f"lengths: expected {len(array)}, one for each sequence of x, got {len(index)}")
        steps = array.shape[1]
        wrong = (index < 0) | (index > steps)
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(f"lengths: expected lengths from 0 to {steps}, got {index[i]} at position {i}")
        with on_device_of(array) as module:
            return cls._over(array[module.asarray(np.arange(steps) < index[:, None])], _offsets(index))

    @classmethod
    def from_arrow(cls, column: Any, *, num_features: int | None = None, dtype: DTypeLike | None = None) -> Ragged:
        """View an Arrow column or table of sequences.

        Parameters
        ----------
        column : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
            N sequences, from pyarrow, Polars, pandas, DuckDB, nanoarrow or any other library with the Arrow PyCapsule
            interface. The type is list, large_list, fixed_size_list, list_view or large_list_view; slices and chunks
            are supported. One step is a number (F = 1), a fixed_size_list, list or large_list of F numbers, or a struct
            of F numbers. The features of a struct or table of such columns are those of all its columns, in order.
            Numbers are integers, floats, decimals or booleans. The type null is accepted at any level. A
            fixed_shape_tensor (T,) or (T, F) is a sequence, too.
            `feature_names` are the names of the structs' fields or of a table's columns: ``a`` for numbers; with
            several columns ``a.x`` for structs and ``a[0]``, ``a[1]`` for lists. A single column of lists of lists, and
            a column without steps, has none.
        num_features : int, optional
            F; required if there are no steps and the column's type does not determine it.
        dtype : dtype_like, optional
            Type to which all numbers are rounded: float32 or float64. By default float32 stays, and all others become
            float64.

        Returns
        -------
        Ragged
            A view that keeps Arrow's memory alive, if that is one contiguous chunk of float or double of the dtype in
            lists of numbers, of fixed-size lists or of lists. Else a copy.

        Raises
        ------
        ValueError
            If there are nulls, at any level, steps of different widths, columns whose sequences differ in length,
            numbers too large for `dtype`, or data that violate the Arrow format; with the column and the row.
        OSError
            If a stream fails.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from rgru import Ragged
        >>> column = pa.array([[[0.1, 0.2], [0.3, 0.4]], []], pa.list_(pa.list_(pa.float32(), 2)))
        >>> Ragged.from_arrow(column)
        Ragged(2 sequences, 2 steps, 2 features, float32)
        """
        if not is_arrow_column(column):
            raise TypeError(f"column: expected an Arrow column or table, got {type(column).__name__}")
        width = None if num_features is None else as_int("num_features", num_features, 1)
        wanted = None if dtype is None else as_precision("dtype", dtype)
        ragged, _ = cls._read_arrow(column, wanted, width=width, name="column", first=0, null_on_error=False)
        if width is not None and ragged.values.shape[1] != width:
            raise ValueError(f"column: expected {width} features (num_features), got {ragged.values.shape[1]}")
        return ragged

    @classmethod
    def _read_arrow(cls, column: Any, dtype: np.dtype[Any] | None, **options: Any) -> tuple[Ragged, Any]:
        """View an Arrow column; also return which sequences failed, with the option ``null_on_error``."""
        refuse_masked_cells(options["name"], column, "an Arrow column or table")
        name = None if dtype is None else dtype.name
        values, offsets, failed, found = _core.arrow_sequences(column, dtype=name, **options)
        names = None if found is None else tuple(found)
        if isinstance(column, Ragged):  # whose Arrow type has no place for names
            names = column.feature_names
        return cls._over(values, offsets, names), failed

    @property
    def values(self) -> NDArray[Any]:
        """The steps of all sequences, shape (S, F), read-only."""
        return self._values

    @property
    def feature_names(self) -> Names | None:
        """Names of the features, if `from_arrow` or `from_list` found any in tables; estimators validate them."""
        return self._feature_names

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Start of each sequence and end of the last one, shape (N + 1,), read-only."""
        return self._offsets

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of steps of each sequence, shape (N,)."""
        return np.diff(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, i: int) -> NDArray[Any]:
        """Return sequence `i`, counted from the end if negative, as a read-only view of shape (T_i, F)."""
        position, count = operator.index(i), len(self)
        if not -count <= position < count:
            raise IndexError(f"index {position} is out of range for {count} sequences")
        position %= count
        return self._values[self._offsets[position] : self._offsets[position + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        bounds = self._offsets.tolist()
        return (self._values[start:end] for start, end in pairwise(bounds))

    def __array__(self, dtype: object = None, copy: object = None) -> None:
        """Refuse, since NumPy would otherwise try to stack the sequences one by one."""
        raise TypeError("a Ragged is not a rectangular array; use its values, or to_padded()")

    def take(self, indices: ArrayLike) -> Ragged:
        """Select sequences, in the order given.

        Parameters
        ----------
        indices : array_like of int, shape (M,)
            Positions from -N to N - 1; they may repeat.

        Returns
        -------
        Ragged
            A copy of the M sequences.

        Raises
        ------
        IndexError
            If a position is out of range.

        Examples
        --------
        >>> import numpy as np
        >>> from rgru import Ragged
        >>> Ragged(np.zeros((5, 2), np.float32), [0, 3, 3, 5]).take([2, 0]).lengths.tolist()
        [2, 3]
        """
        index = as_index("indices", indices, "(M,)")
        wrong = (index < -len(self)) | (index >= len(self))
        if wrong.any():
            raise IndexError(f"indices: expected positions within {len(self)} sequences, got {index[wrong.argmax()]}")
        index = index % len(self) if len(self) else index
        lengths = self.lengths[index]
        offsets = _offsets(lengths)
        # Row s of the result is step s - offsets[i] of its sequence i, so it is that far past the start here.
        rows = np.arange(offsets[-1]) + np.repeat(self._offsets[index] - offsets[:-1], lengths)
        with on_device_of(self._values) as module:
            return Ragged._over(self._values[module.asarray(rows)], offsets, self._feature_names)

    def to_list(self) -> list[NDArray[Any]]:
        """Return the sequences as a list.

        Returns
        -------
        list of numpy.ndarray
            Read-only views, each of shape (T_i, F).

        Examples
        --------
        >>> import numpy as np
        >>> from rgru import Ragged
        >>> [one.shape for one in Ragged(np.zeros((5, 2), np.float32), [0, 3, 5]).to_list()]
        [(3, 2), (2, 2)]
        """
        return list(self)

    def to_padded(self, length: int | None = None) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Pad the sequences with zeros at their ends to one length.

        Parameters
        ----------
        length : int, optional
            T, at least the length of the longest sequence, which is the default.

        Returns
        -------
        padded : numpy.ndarray, shape (N, T, F)
            The padded batch.
        lengths : numpy.ndarray of int64, shape (N,)
            Number of valid steps of each sequence.

        Examples
        --------
        >>> import numpy as np
        >>> from rgru import Ragged
        >>> padded, lengths = Ragged(np.ones((5, 2), np.float32), [0, 3, 5]).to_padded()
        >>> padded.shape, lengths.tolist()
        ((2, 3, 2), [3, 2])
        """
        lengths = self.lengths
        longest = int(lengths.max(initial=0))
        steps = longest if length is None else as_int("length", length, 0)
        if steps < longest:
            raise ValueError(f"length: expected at least {longest}, the longest sequence's, got {steps}")
        with on_device_of(self._values) as module:
            padded = module.zeros((len(self), steps, self._values.shape[1]), self._values.dtype)
            padded[module.asarray(np.arange(steps) < lengths[:, None])] = self._values
        return padded, lengths

    def __reduce__(self) -> tuple[type[Ragged], tuple[NDArray[Any], NDArray[np.int64]], Names | None]:
        return Ragged, (self._values, self._offsets), self._feature_names  # the constructor makes them read-only again

    def __setstate__(self, feature_names: Names) -> None:
        self._feature_names = feature_names

    def __arrow_c_schema__(self) -> object:
        return self._as_arrow().__arrow_c_schema__()

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Export the sequences as an Arrow array, list<fixed_size_list<float>[F]>, over the same values."""
        return self._as_arrow().__arrow_c_array__(requested_schema)

    def _as_arrow(self) -> _core.ArrowColumn:
        if on_gpu(self._values):
            raise TypeError("values: expected an array on the CPU to export to Arrow, got one on a GPU")
        return _core.arrow_numbers(self._values, places=self._offsets, valid=None)

    def __repr__(self) -> str:
        counts = {"sequence": len(self), "step": self._values.shape[0], "feature": self._values.shape[1]}
        words = [f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items()]
        return f"Ragged({', '.join(words)}, {self._values.dtype.name})"


def _as_real(name: str, value: ArrayLike, ndim: int, axes: str) -> NDArray[Any]:
    """Validate an array, on the host or on a GPU."""
    if not on_gpu(value):
        return as_real(name, value, None, ndim, axes, integers=True)
    from rgru._cuda import arrays

    array: NDArray[Any] = arrays.as_real(name, value, None, ndim, axes)
    return array


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _check_offsets(offsets: NDArray[np.int64], steps: int) -> None:
    if len(offsets) == 0:
        raise ValueError("offsets: expected N + 1 numbers, at least one, got none")
    if offsets[0] != 0:
        raise ValueError(f"offsets: expected 0 at the start, got {offsets[0]}")
    down = offsets[1:] < offsets[:-1]
    if down.any():
        i = int(down.argmax())
        raise ValueError(f"offsets: expected ascending, got {offsets[i]} then {offsets[i + 1]} at position {i + 1}")
    if offsets[-1] != steps:
        raise ValueError(f"offsets: expected {steps} at the end (the rows of values), got {offsets[-1]}")
