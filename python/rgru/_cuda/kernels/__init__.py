"""The CUDA source of all kernels, in files by subject.

The files are joined to one source: NVRTC then needs no header on the user's machine, and CuPy's cache, which is keyed
by the source, notices a change in any of them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FILES = (
    "variant.cuh",
    "hardware.cuh",
    "numbers.cuh",
    "activations.cuh",
    "cell.cuh",
    "layout.cuh",
    "sort.cuh",
    "chacha.cuh",
    "dropout.cuh",
    "zoneout.cuh",
    "recurrent_dropout.cuh",
    "merge.cuh",
    "stepwise.cuh",
    "layer_norm.cuh",
    "tiling.cuh",
    "pack.cuh",
    "exchange.cuh",
    "products.cuh",
    "recurrence.cuh",
    "forward.cuh",
    "backward.cuh",
)
"""In the order in which they are read: each uses only those before it."""


@cache
def source() -> str:
    """Return the source of all kernels.

    Returns
    -------
    str
        CUDA C++ without includes. ``#line`` directives name the file in the compiler's messages.

    Examples
    --------
    >>> from rgru._cuda.kernels import source
    >>> source().splitlines()[0]
    '#line 1 "variant.cuh"'
    """
    folder = Path(__file__).parent
    return "\n".join(f'#line 1 "{name}"\n{(folder / name).read_text(encoding="utf-8")}' for name in FILES)
