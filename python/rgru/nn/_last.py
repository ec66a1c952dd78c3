"""The features of each sequence's last states in the last layer, with the directions merged as the outputs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru.nn._settings import Settings


def last_features(settings: Settings, h_n: Any, xp: Any) -> Any:
    """Return the features (N, K) of the final states (L*D, N, H); `xp` is the module of their arrays."""
    if settings.merge == "concat":
        return xp.concatenate(list(h_n[-2:] if settings.bidirectional else h_n[-1:]), axis=1)
    forward, reverse = h_n[-2], h_n[-1]
    if settings.merge == "product":
        return forward * reverse
    total = forward + reverse
    return total * total.dtype.type(0.5) if settings.merge == "mean" else total


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
