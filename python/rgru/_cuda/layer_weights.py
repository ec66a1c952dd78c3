"""What the passes of a layer read: its weights in the precision of the products, and the tape."""

from __future__ import annotations

from dataclasses import dataclass
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
        reset-after, b_hh (H,); with learned initial states h0 (H,).
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
        self.b = xp.stack([cell["b"] for cell in cells]).astype(sums) if "b" in cells[0] else None  # (D, 3H)
        self.b_hh = xp.stack([cell["b_hh"] for cell in cells]).astype(sums) if "b_hh" in cells[0] else None  # (D, H)
        self._h0 = xp.stack([cell["h0"] for cell in cells]).astype(sums) if "h0" in cells[0] else None  # (D, H)
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
        key = (int(shape.cell.backward), shape.blocks, shape.units)
        if key not in self._packed:
            count = self.directions * shape.blocks * shape.weights
            packed = self.device.xp.empty(count, number_type(self.precision))
            self.device.launch(shape, "pack", -(-count // 256), 256, (self.u, packed, self.directions))
            self._packed[key] = self.device.made(packed)
        return self._packed[key]()


@dataclass(frozen=True)
class LayerTape:
    """What the backward pass of a layer reads.

    Attributes
    ----------
    x : array, shape (S, I)
        Zero in the padding.
    gates : array, shape (S, D*3H)
        r, z and h~ after the activations, z times zoneout's factor.
    a_hh : array, shape (S, D*H), or None
        Reset-after: U_hh h + b_hh.
    y : array, shape (S, D*H)
    h0 : array, shape (D, N, H), or None
    masks : array, shape (D, N, H), or None
        Of recurrent dropout.
    learned : bool
        Whether `h0` are the learned initial states.
    """

    x: Array
    gates: Array
    a_hh: Array | None
    y: Array
    h0: Array | None
    masks: Array | None = None
    learned: bool = False
