"""PyTorch's names of parameters: which of a model's arrays belong to a GRU, and to which."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"((?:.*[._])?)(weight|bias|w|b)_(ih|hh)((?:_l(?:0|[1-9]\d*)(?:_reverse)?)?)", re.DOTALL)
_ALTERED = re.compile(
    r"(parametrizations\.)?(weight|bias|w|b)_(ih|hh|hr)(_l|_orig|_mask|\.|$)|_all_weight_values|_packed"
)
_KINDS = {"w": "weight", "b": "bias"}


def is_parameter(name: str) -> bool:
    """Return whether a name is one of a GRU's parameter, with any prefix."""
    return _NAME.fullmatch(name) is not None


def find_gru(arrays: Mapping[str, Any], prefix: str) -> tuple[list[str], dict[str, Any]]:
    """Find the arrays of one GRU, or of a stack of cells, among others.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays by name; those that are no parameters of a GRU may be None.
    prefix : str
        What the names begin with: that of a GRU, with or without the last dot, or of numbered cells.

    Returns
    -------
    prefixes : list of str
        The prefix that was found; of a stack of cells, each cell's.
    found : dict of str to array
        The arrays without prefixes.

    Raises
    ------
    ValueError
        If there is no GRU of this prefix, or without a prefix not exactly one.
    """
    grus = _grus(arrays)
    if not prefix and "" not in grus and len(grus) == 1:
        [prefix] = grus
    for start in (prefix, f"{prefix}."):
        if start in grus:
            _check_plain(arrays, start, grus[start])
            return [start], {name: arrays[full] for name, full in grus[start].items()}
        cells = [f"{start}{k}." for k in range(len(grus)) if f"{start}{k}." in grus]
        numbered = cells and not any("_l" in name for one in cells for name in grus[one])
        if numbered and (prefix or len(cells) == len(grus)):
            for one in cells:
                _check_plain(arrays, one, grus[one])
            names = {f"{name}_l{k}": full for k, one in enumerate(cells) for name, full in grus[one].items()}
            return cells, {name: arrays[full] for name, full in names.items()}
    if not grus:
        altered = [name for name in arrays if _ALTERED.search(name) and not is_parameter(name)][:3]
        raise ValueError(
            f"source: expected the parameters of a GRU (weight_ih_l0, weight_hh_l0...), got "
            f"{', '.join(altered) or 'none'}; parametrisations, pruning and quantisation have to be removed first"
        )
    raise ValueError(f"prefix: expected one of {', '.join(map(repr, sorted(grus)))}, got {prefix!r}")


def _grus(arrays: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the names of each GRU's arrays by prefix; those of an LSTM or a plain RNN have other shapes."""
    found: dict[str, dict[str, str]] = {}
    for full in arrays:
        match = _NAME.fullmatch(full)
        if match:
            prefix, kind, side, place = match.groups()
            name = f"{_KINDS.get(kind, kind)}_{side}{place}"
            if name in found.setdefault(prefix, {}):
                raise ValueError(f"source: expected {name} once, got {found[prefix][name]} and {full}")
            found[prefix][name] = full
    return {prefix: names for prefix, names in found.items() if any(_has_three_gates(arrays, names, n) for n in names)}


def _has_three_gates(arrays: Mapping[str, Any], names: Mapping[str, str], name: str) -> bool:
    shape: tuple[int, ...] = np.shape(arrays[names[name]]) if name.startswith("weight_hh") else ()
    return len(shape) == 2 and shape[0] == 3 * shape[1]


def _check_plain(arrays: Mapping[str, Any], prefix: str, names: Mapping[str, str]) -> None:
    """Refuse other arrays of the same module: they would change what it computes."""
    own = set(names.values())
    strange = [
        name
        for name in arrays
        if name.startswith(prefix) and name not in own and (prefix.endswith(".") or _ALTERED.match(name, len(prefix)))
    ]
    if strange:
        raise ValueError(
            f"state: expected the parameters of a plain GRU, got {', '.join(strange[:5])}; parametrisations, pruning "
            "and quantisation have to be removed first"
        )
