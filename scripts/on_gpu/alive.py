"""Fail if the GPU does not answer."""

import cupy

assert int(cupy.arange(1000).sum()) == 499500
