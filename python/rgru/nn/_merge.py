"""The features of two directions as one: of outputs, and of last states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rgru.nn._settings import Settings


def merge(settings: Settings, parts: Sequence[Any], xp: Any) -> Any:
    """Merge arrays (..., H), one for each direction, to (..., K); `xp` is the module of the arrays.

    The results have the bits of the core's.
    """
    if settings.merge == "concat":
        return xp.concatenate(list(parts), axis=-1)
    forward, reverse = parts
    if settings.merge == "product":
        return forward * reverse
    total = forward + reverse
    return total * total.dtype.type(0.5) if settings.merge == "mean" else total


def last_features(settings: Settings, h_n: Any, xp: Any) -> Any:
    """Return the features (N, K) of the last layer's final states, for those of all layers (L*D, N, H)."""
    return merge(settings, list(h_n[-2:] if settings.bidirectional else h_n[-1:]), xp)


def last_features_backward(settings: Settings, h_n: Any, d_features: Any, xp: Any) -> Any:
    """Return the gradient by the final states (L*D, N, H) for the one by their features (N, K)."""
    d_h_n = xp.zeros(h_n.shape, d_features.dtype)
    if settings.merge == "concat":
        directions = 2 if settings.bidirectional else 1
        d_h_n[-directions:] = d_features.reshape(len(d_features), directions, -1).transpose(1, 0, 2)
    elif settings.merge == "product":
        d_h_n[-2], d_h_n[-1] = d_features * h_n[-1], d_features * h_n[-2]
    else:
        d_h_n[-2:] = d_features * d_features.dtype.type(0.5 if settings.merge == "mean" else 1.0)
    return d_h_n
