"""The weights of a layer in the precision of the products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgru._cuda.cell_options import PLAIN, CellOptions
from rgru._cuda.dtypes import number_type, sum_type
from rgru._cuda.kernel_config import CellSpec, Precision, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array
    from rgru._cuda.kernel_config import LaunchShape


class LayerWeights:
    """The weights of a layer in the precision of the products, packed once for each launch shape that needs it.

    Parameters
    ----------
    device : Device
    precision : Precision
    reset_after : bool
    cells : list of mapping
        For each direction the parameters on the device: W (3H, I), U (3H, H) and, with biases, b (3H,) and, for
        reset-after, b_hh (H,); with learned initial states h0 (H,); with layer normalisation g (3H,) and, in the
        separate form, g_hh (3H,).
    options : CellOptions, optional
        By default those of the plain cell.
    """

    def __init__(
        self,
        device: Device,
        precision: Precision,
        reset_after: bool,
        cells: list[Mapping[str, Array]],
        options: CellOptions = PLAIN,
    ) -> None:
        xp, self._options = device.xp, options
        self.device, self.precision, self.reset_after = device, precision, reset_after
        self.directions, self.hidden = len(cells), cells[0]["U"].shape[1]
        number, sums = number_type(precision), sum_type(precision)
        self.w = xp.concatenate([cell["W"] for cell in cells]).astype(number)  # (D*3H, I)
        self.u = xp.stack([cell["U"] for cell in cells]).astype(number)  # (D, 3H, H)

        def stacked(name: str) -> Array | None:
            return xp.stack([cell[name] for cell in cells]).astype(sums) if name in cells[0] else None

        self.b, self.g, self.g_hh = stacked("b"), stacked("g"), stacked("g_hh")  # (D, 3H)
        self.b_hh, self._h0 = stacked("b_hh"), stacked("h0")  # (D, H)
        self._packed: dict[tuple[int, ...], Callable[[], Array]] = {}

    def form(self, count: int, backward: bool, masked: bool) -> LaunchShape | Steps:
        """Return the configuration of the kernels for `count` sequences, with recurrent dropout if `masked`."""
        options = self._options.backward if backward else self._options
        cell = CellSpec(self.precision, self.reset_after, self.hidden, backward, options, masked)
        return self.device.plan(cell, count, self.directions)

    def learned(self, count: int) -> Array | None:
        """Return the learned initial states of `count` sequences, shape (D, N, H), or None if there are none."""
        if self._h0 is None:
            return None
        states = self.device.xp.empty((self.directions, count, self.hidden), self._h0.dtype)
        states[...] = self._h0[:, None]
        return states.astype(number_type(self.precision), copy=False)

    def packed(self, shape: LaunchShape) -> Array:
        """Return U in the order in which the blocks of a launch shape hold it."""
        key = (int(shape.cell.precision), int(shape.cell.backward), shape.blocks, shape.units)
        if key not in self._packed:
            count = self.directions * shape.blocks * shape.weights
            packed = self.device.xp.empty(count, number_type(self.precision))
            self.device.launch(shape, "pack", -(-count // 256), 256, (self.u, packed, self.directions))
            self._packed[key] = self.device.made(packed)
        return self._packed[key]()
