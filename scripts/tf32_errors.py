"""Compare the errors of float32 products on a GPU with those of tf32: the table in docs/performance.md.

Runs the recurrence of a reset-after cell in NumPy, in arithmetic like that of the kernels: slices of k, and matrix
units that add eight products exactly and truncate the sum (Fasi et al., 2021). Needs no GPU, and half a minute.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Product = Callable[[Array, Array], Array]

SLICES = {"threads": 32, "matrix units": 8}
VECTOR, DEPTH = 4, 8
"""Numbers of k of a step, of a thread and of a matrix unit."""


def tf32(x: Array) -> Array:
    """Cut the lower 13 bits, as matrix units do."""
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def rounded(x: Array) -> Array:
    """Round to tf32, ties away from zero."""
    return tf32((x.view(np.uint32) + np.uint32(0x1000)).view(np.float32))


def split(x: Array) -> tuple[Array, Array]:
    """Return two tf32 numbers whose sum is close to x."""
    high = tf32(x)
    return high, rounded(x - high)


def added(sums: Array, a: Array, b: Array) -> Array:
    """Return sums + a b, truncated to float32."""
    exact = sums + a.astype(np.float64) @ b
    nearest = exact.astype(np.float32)
    return np.where(np.abs(nearest) > np.abs(exact), np.nextafter(nearest, np.float32(0)), nearest)


def by_threads(u: Array, h: Array) -> Array:
    """Multiply in float32, by fused multiply-adds."""
    total = np.zeros((len(u), h.shape[1]), np.float32)
    for first in range(0, SLICES["threads"] * VECTOR, VECTOR):
        sums = np.zeros_like(total)
        for step in range(first, len(h), SLICES["threads"] * VECTOR):
            for k in range(step, step + VECTOR):
                sums = (sums + u[:, k : k + 1].astype(np.float64) * h[k]).astype(np.float32)
        total += sums
    return total


def by_matrix_units(u: Array, h: Array, terms: int, outside: bool) -> Array:
    """Multiply in tf32, in one term or three; `outside`: each step's sum starts at zero and is added outside."""
    if terms == 1:
        pairs = [(rounded(u), rounded(h))]
    else:
        (u_high, u_low), (h_high, h_low) = split(u), split(h)
        pairs = [(u_low, h_high), (u_high, h_low), (u_high, h_high)]
    total = np.zeros((len(u), h.shape[1]), np.float32)
    for first in range(0, SLICES["matrix units"] * DEPTH, DEPTH):
        sums = np.zeros_like(total)
        for k in range(first, len(h), SLICES["matrix units"] * DEPTH):
            step = np.zeros_like(sums) if outside else sums
            for a, b in pairs:
                step = added(step, a[:, k : k + DEPTH], b[k : k + DEPTH])
            sums = sums + step if outside else step
        total += sums
    return total


def states(u: Array, gx: Array, product: Product) -> Array:
    """Return the states of all steps, (T, H, N), in the precision of gx."""
    hidden = u.shape[1]
    h, found = np.zeros((hidden, gx.shape[2]), gx.dtype), []
    for step in gx:
        r, z, c = step.reshape(3, hidden, -1)
        a_r, a_z, a_hh = product(u, h).reshape(3, hidden, -1)
        r, z = 1 / (1 + np.exp(-(r + a_r))), 1 / (1 + np.exp(-(z + a_z)))
        h = (h + z * (np.tanh(c + r * a_hh) - h)).astype(gx.dtype)
        found.append(h)
    return np.array(found)


PRODUCTS: dict[str, Product] = {
    "float32": by_threads,
    "three tf32 products": partial(by_matrix_units, terms=3, outside=True),
    "the same, summed in the matrix units": partial(by_matrix_units, terms=3, outside=False),
    "tf32": partial(by_matrix_units, terms=1, outside=False),
}


def main() -> None:
    """Print the root of the mean square of the errors, and the largest one."""
    for hidden, scale, steps in ((256, 1, 60), (1024, 1, 25), (512, 3, 60)):
        random = np.random.default_rng(hidden)
        gates = [np.linalg.qr(random.standard_normal((hidden, hidden)))[0] for _ in range(3)]
        u = (scale * np.concatenate(gates)).astype(np.float32)
        gx = random.standard_normal((steps, 3 * hidden, 4)).astype(np.float32)
        exact = states(u.astype(np.float64), gx.astype(np.float64), np.matmul)
        for name, product in PRODUCTS.items():
            errors = states(u, gx, product) - exact
            mean = np.sqrt(np.mean(errors**2))
            print(f"H={hidden} U x {scale}, {name}: {mean:.1e} ({np.abs(errors).max():.1e})", flush=True)


if __name__ == "__main__":
    main()
