"""What the backward pass of a layer reads of its forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgru._cuda.dtypes import Array
    from rgru._cuda.layer_norm import LayerNorm


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
    norm : LayerNorm or None
    learned : bool
        Whether `h0` are the learned initial states.
    """

    x: Array
    gates: Array
    a_hh: Array | None
    y: Array
    h0: Array | None
    masks: Array | None
    norm: LayerNorm | None
    learned: bool = False
