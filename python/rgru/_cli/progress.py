"""The progress bar over rows, on stderr, if that is a terminal."""

from __future__ import annotations

from typing import Any

from rgru._optional_imports import install


def rows_bar(total: int | None) -> Any:
    """Return a tqdm bar over `total` rows, or over an unknown number of them.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(f"progress bars need tqdm: {install('cli')}") from error
    return tqdm(total=total, unit="row", unit_scale=True, disable=None, leave=False)
