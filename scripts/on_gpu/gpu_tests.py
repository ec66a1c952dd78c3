"""A plugin of pytest for tests on a GPU: waits are bounded, and a worker whose GPU has failed makes room for a new one.

CUDA does not recover from some errors: all later tests of the same process would fail. Failures are printed as they
come, and no test begins after ``END_OF_TESTS``, a time in seconds since the epoch: pytest's own report would come too
late, or never.
"""

import os
import time

import pytest

from gpu.forms import bound_waits

WORKER = "PYTEST_XDIST_WORKER" in os.environ
END = float(os.environ.get("END_OF_TESTS", "inf"))


def pytest_configure():
    bound_waits()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    done = yield
    if time.time() > END:
        item.session.shouldstop = "the time was up"
    return done


def pytest_runtest_logreport(report):
    if report.failed and not WORKER:
        print(f"\n{report.nodeid}:\n{report.longreprtext}", flush=True)


def pytest_runtest_logfinish():
    if WORKER and not answers():
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
