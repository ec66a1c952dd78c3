"""Japanese Vowels: which of nine speakers said /ae/, from 7 to 29 steps of 12 features.

The data file is in this module's folder, with a README.md that names its source, citation and licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rgru._optional_imports import install

if TYPE_CHECKING:
    import pyarrow as pa

_FILE = Path(__file__).with_name("japanese_vowels.parquet")
_COEFFICIENTS = 12
_SPLITS = ("train", "test")

Split = Literal["train", "test"] | None


def load_japanese_vowels(split: Split = None) -> tuple[list[np.ndarray], np.ndarray]:
    """Load the Japanese Vowels recordings as NumPy arrays.

    640 recordings of nine male speakers who each say the vowels /ae/ in one breath. A
    recording is a series of 12 LPC cepstrum coefficients (dimensionless), one frame every
    6.4 ms (frames of 25.6 ms, sampled at 10 kHz). The task is to recognise the speaker.

    Parameters
    ----------
    split : {"train", "test"} or None, default None
        The 270 training recordings (30 per speaker), the 370 test recordings (24 to 88 per
        speaker), or, with None, all 640: training first, then test. The order is the source's.

    Returns
    -------
    X : list of ndarray of float32, shape (T_i, 12)
        One array per recording, time first, T_i from 7 to 29. Each is C-contiguous and owns
        its memory.
    y : ndarray of int64, shape (N,)
        The speaker of each recording, 1 to 9.

    Raises
    ------
    ImportError
        If pyarrow, which reads the file, is not installed.

    See Also
    --------
    japanese_vowels_table : The same as an Arrow table.

    Notes
    -----
    From the UCI Machine Learning Repository [1]_, licence CC BY 4.0; described in [2]_.

    References
    ----------
    .. [1] M. Kudo, J. Toyama, M. Shimbo. Japanese Vowels. UCI Machine Learning Repository.
       https://doi.org/10.24432/C5NS47
    .. [2] M. Kudo, J. Toyama, M. Shimbo. Multidimensional curve classification using
       passing-through regions. Pattern Recognition Letters 20(11-13), 1999, 1103-1111.

    Examples
    --------
    >>> from rgru.datasets import load_japanese_vowels
    >>> X, y = load_japanese_vowels("train")
    >>> len(X), X[0].shape, y[:3]
    (270, (20, 12), array([1, 1, 1]))
    """
    table = japanese_vowels_table(split)
    values = table["values"].combine_chunks()
    frames = values.flatten().flatten().to_numpy().reshape(-1, _COEFFICIENTS)
    boundaries = np.cumsum(values.value_lengths().to_numpy())[:-1]
    recordings = [recording.copy() for recording in np.split(frames, boundaries)]
    return recordings, table["speaker"].to_numpy().astype(np.int64)


def japanese_vowels_table(split: Split = None) -> pa.Table:
    """Load the Japanese Vowels recordings as an Arrow table.

    Parameters
    ----------
    split : {"train", "test"} or None, default None
        The recordings to load, as in `load_japanese_vowels`.

    Returns
    -------
    pyarrow.Table
        One row per recording, no nulls, with the columns ``split`` (string, "train" or "test";
        only if `split` is None), ``speaker`` (int8, 1 to 9) and ``values``
        (list<fixed_size_list<float32>[12]>, the steps of the recording).

    Raises
    ------
    ImportError
        If pyarrow is not installed.

    See Also
    --------
    load_japanese_vowels : The same as NumPy arrays, with a description of the data.

    Examples
    --------
    >>> from rgru.datasets import japanese_vowels_table
    >>> table = japanese_vowels_table("test")
    >>> table.num_rows, table.column_names
    (370, ['speaker', 'values'])
    """
    if split is not None and split not in _SPLITS:
        raise ValueError(f"split: expected 'train', 'test' or None, got {split!r}")
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"reading this data set needs pyarrow: {install('cli')}") from error

    table = pq.read_table(_FILE)
    if split is None:
        return table
    import pyarrow.compute as pc

    return table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
