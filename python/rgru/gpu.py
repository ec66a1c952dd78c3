"""Settings of the GPU path; calls run there when their arrays are there.

`import rgru` does not load this package, and CuPy is loaded at the first use of a GPU.

The kernels have not run on a GPU yet: they are compiled for seven generations of chips, and run on an emulator.
"""

from rgru._cuda.precision import allow_tf32, tf32_allowed

__all__ = ["allow_tf32", "tf32_allowed"]
