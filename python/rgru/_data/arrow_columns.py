"""Arrow columns of sequences as Ragged, without a copy if Arrow's memory already has rgru's layout.

The core reads them through the Arrow PyCapsule interface; no Arrow library is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._data.ragged import Ragged
from rgru._validation.arrays import all_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_sequence_type(kind: Any, *, typed: bool = True) -> bool:
    """Return whether a column of this Arrow type, such as pyarrow's, holds sequences that `ragged_from_arrow` can read.

    A type without a type of numbers (null, list<null>), as in tables where no row has any, counts unless `typed`.
    """
    return _core.is_arrow_sequences(kind, typed=typed)


def ragged_from_arrow(
    column: Any,
    *,
    width: int | None = None,
    name: str = "X",
    dtype: np.dtype[Any] | None = None,
    first: int = 0,
) -> Ragged:
    """View an Arrow column of sequences as `Ragged`.

    Parameters
    ----------
    column : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
        N sequences: a list, large_list, fixed_size_list, list_view or large_list_view. One step is a number (I = 1), a
        fixed_size_list, list or large_list of I numbers, the same I everywhere, or a struct of I numbers. The features
        of a struct or table of such columns are those of all its columns, in order. Numbers are integers, floats,
        decimals or booleans. The type null is accepted at any level: such values are null. A fixed_shape_tensor (T,)
        or (T, I) is a sequence. Slices and chunks are supported; a column that pandas makes of an index is ignored.
    width : int, optional
        I, for a column without steps whose type does not determine it.
    name : str, default "X"
        The name of the column in error messages.
    dtype : numpy.dtype, optional
        Type to which all numbers are rounded: float32 or float64. By default float32 stays, and all others become
        float64.
    first : int, default 0
        The number of the first sequence, for error messages about a part of a larger column.

    Returns
    -------
    Ragged
        ``values`` (S, I) float32 or float64, ``offsets`` (N + 1,) int64 from 0. The values are a read-only view of
        Arrow's memory if they are contiguous there, in one chunk and of that type; else they are copied once.

    Raises
    ------
    ValueError
        If there are nulls, at any level, steps of different widths, columns whose sequences differ in length, numbers
        too large for `dtype`, or data that violate the Arrow format; with the column and the row.
    OSError
        If a stream fails.
    """
    ragged, _ = Ragged._read_arrow(column, dtype, width=width, name=name, first=first, null_on_error=False)
    return ragged


def ragged_and_failures(
    column: Any, *, width: int, name: str, dtype: np.dtype[Any] | None = None
) -> tuple[Ragged, NDArray[np.bool_]]:
    """View an Arrow column as `Ragged`, and mark invalid rows instead of raising an error.

    Parameters
    ----------
    column, name, dtype
        As in `ragged_from_arrow`.
    width : int
        I.

    Returns
    -------
    ragged : Ragged
        All N sequences; those that failed have no steps.
    failed : ndarray of bool, shape (N,)
        True for rows with nulls, steps of other widths, lengths that differ between columns, or non-finite numbers.

    Raises
    ------
    TypeError, ValueError, OSError
        As in `ragged_from_arrow`, about the column as a whole.
    """
    read = Ragged._read_arrow(column, dtype, width=width, name=name, first=0, null_on_error=True)
    return without_infinite(*read)


def without_infinite(x: Ragged, failed: NDArray[np.bool_]) -> tuple[Ragged, NDArray[np.bool_]]:
    """Empty the sequences that contain a non-finite number, and mark them as failed, too."""
    if all_finite(x.values):
        return x, failed
    return without_steps(x, failed, ~np.isfinite(x.values).all(axis=1))


def without_steps(x: Ragged, failed: NDArray[np.bool_], steps: NDArray[np.bool_]) -> tuple[Ragged, NDArray[np.bool_]]:
    """Empty the sequences that contain one of some steps (S,), and mark them as failed, too."""
    wrong = np.flatnonzero(steps)
    failed = failed.copy()
    failed[np.searchsorted(x.offsets, wrong, side="right") - 1] = True
    lengths = np.where(failed, 0, x.lengths)
    offsets = np.zeros(len(x.offsets), np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Ragged._over(x.values[np.repeat(~failed, x.lengths)], offsets, x.feature_names), failed
