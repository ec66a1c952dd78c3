"""A plugin of pytest for tests on a GPU: waits are bounded, and a worker whose GPU has failed makes room for a new one.

CUDA does not recover from some errors: all later tests of the same process would fail.
"""

import os

from gpu.forms import bound_waits


def pytest_configure():
    bound_waits()


def pytest_runtest_logfinish():
    if "PYTEST_XDIST_WORKER" in os.environ and not answers():
        os._exit(1)


def answers() -> bool:
    """Return whether this process can still use the GPU, if it ever could."""
    try:
        import cupy
    except ImportError:
        return True
    try:
        cupy.cuda.Device().synchronize()
    except cupy.cuda.runtime.CUDARuntimeError:
        return False
    return True
