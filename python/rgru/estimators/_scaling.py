"""Standardisation: columns shifted to mean 0 and scaled to standard deviation 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class Scaler:
    """The means and standard deviations of columns, with the conversion to standard units and back.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (F,)
        `scale` is the standard deviation, or 1 for a column that does not vary.
    """

    def __init__(self, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        self.mean, self.scale = mean, scale

    @classmethod
    def of(cls, values: NDArray[Any], *, ids: bool = False) -> Scaler:
        """Compute the means and deviations of `values` (M, F), of any magnitude, M at least 1.

        With `ids`, the first column stays as it is.
        """
        mean, scale = _core.measure(_as_core_takes(values))
        if ids:
            mean[0], scale[0] = 0.0, 1.0
        return cls(mean, scale)

    def apply(self, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Convert `values` (M, F) to standard units, in a new array of `dtype`, without a check for overflow."""
        scaled: NDArray[Any] = _core.standardise(_as_core_takes(values), self.mean, self.scale, dtype.name)
        return scaled

    def undo(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Convert `values` (M, F) from standard units to the original ones.

        The result is float64 for any type of `values`: float32 has 7 digits, which a mean much larger than the
        deviation uses up, and its range ends at 3e38. Numbers beyond float64's range become its largest one.
        """
        largest = np.finfo(np.float64).max
        # Halves of large numbers are exact, and their sum is within the range of float64.
        part = np.where(np.maximum(np.abs(self.mean), self.scale) > 1.0, 0.5, 1.0)
        with np.errstate(over="ignore"):
            numbers = (values * (self.scale * part) + self.mean * part) / part
        return np.clip(numbers, -largest, largest)

    def tensors(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the two arrays under their names in a file."""
        return {f"{prefix}.mean": self.mean, f"{prefix}.scale": self.scale}

    @classmethod
    def from_tensors(cls, prefix: str, tensors: Mapping[str, NDArray[Any]], size: int) -> Scaler:
        """Restore a scaler from the arrays of a file.

        Raises
        ------
        KeyError
            If one is missing.
        ValueError
            If one does not consist of `size` numbers in float64.
        """
        arrays = [tensors[f"{prefix}.mean"], tensors[f"{prefix}.scale"]]
        for array in arrays:
            if array.shape != (size,) or array.dtype != np.float64:
                raise ValueError(f"{prefix}: expected float64 of shape ({size},), got {array.dtype} of {array.shape}")
        return cls(*arrays)


def _as_core_takes(values: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # numbers of a wider type become infinite, which the estimators refuse
        return np.ascontiguousarray(values, None if values.dtype == np.float32 else np.float64)
