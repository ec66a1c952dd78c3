"""Settings of the GPU path; a call runs there when its arrays are there.

Not yet run on a GPU: compiled for seven generations of chips, and run on an emulator of them.
"""

from rgru._cuda.precision import allow_tf32, tf32_allowed

__all__ = ["allow_tf32", "tf32_allowed"]
