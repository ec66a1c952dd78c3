"""Equal calls need equal memory, for any number of calls and threads."""

import subprocess
import sys
from pathlib import Path

import pytest

CALLS = """
import sys, threading
import numpy as np
import rgru

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 // 2**10

def call_on_threads(calls):
    def work():
        for _ in range(calls):
            gru(x)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

rgru.set_num_threads(1)
gru = rgru.GRU(1, 8, dtype=sys.argv[1], seed=0)
x = np.zeros((20, 45, 1), sys.argv[1])
gru(x)
one = resident()
call_on_threads(100)
some = resident()
call_on_threads(2000)
print(some - one, resident() - some)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_calls_do_not_grow(dtype):
    done = subprocess.run([sys.executable, "-c", CALLS, dtype], capture_output=True, text=True, check=True, timeout=120)
    first, later = map(int, done.stdout.split())
    buffer = 20 * 45 * 48 * (4 if dtype == "float32" else 8) / 2**10  # what one call keeps, in KiB
    assert first <= 4 * buffer + 2000  # threads have stacks, and arenas of the allocator
    assert first + later <= 4 * buffer + 2000
