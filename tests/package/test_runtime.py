"""Threads, forks, signals and instruction sets: robustness within a host process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import rgru

# Large enough that several threads of the pool compute it.
BATCH = np.random.default_rng(0).standard_normal((130, 40, 20)).astype(np.float32)


def python(code: str, **environment: str) -> str:
    """Run code in a new interpreter and return its output."""
    clean = {k: v for k, v in os.environ.items() if k not in ("RGRU_NUM_THREADS", "OMP_NUM_THREADS", "RGRU_ISA")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


THREADS = "import rgru; print(rgru.info()['num_threads'])"


def test_threads_argument_beats_environment() -> None:
    assert python(THREADS, RGRU_NUM_THREADS="3", OMP_NUM_THREADS="5") == "3"
    assert python(THREADS, OMP_NUM_THREADS="5,2") == "5"
    assert python("import rgru; rgru.set_num_threads(7);" + THREADS, RGRU_NUM_THREADS="3") == "7"
    assert (
        python("import rgru; rgru.set_num_threads(7); rgru.set_num_threads(None);" + THREADS, RGRU_NUM_THREADS="3")
        == "3"
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_threads_respect_affinity() -> None:
    assert python("import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);" + THREADS) == "1"


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "99999"])
def test_an_error_names_a_bad_thread_variable(value: str) -> None:
    message = python("import rgru; rgru.info()", RGRU_NUM_THREADS=value)
    assert message == f"ValueError: RGRU_NUM_THREADS: expected a number of threads in 1..=1024, got '{value}'"


def test_instruction_set_can_be_forced() -> None:
    code = "import rgru; print(rgru.info()['isa'])"
    for isa in rgru.info()["available_isas"]:  # type: ignore[attr-defined]
        assert python(code, RGRU_ISA=isa) == isa
    assert "RGRU_ISA: expected one of" in python(code, RGRU_ISA="mmx")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_with_a_pool_of_its_own() -> None:
    """Threads do not survive fork: a child that used the parent's pool would hang."""
    gru = rgru.GRU(20, 50, seed=0)
    rgru.set_num_threads(2)
    try:
        expected, _ = gru(BATCH)
        child = os.fork()
        if child == 0:
            same = False
            try:
                same = np.array_equal(gru(BATCH)[0], expected)
            finally:
                os._exit(0 if same else 1)
        deadline = time.monotonic() + 30
        while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.fail("the child hangs")
            time.sleep(0.01)
        assert os.waitstatus_to_exitcode(found[1]) == 0
        assert np.array_equal(gru(BATCH)[0], expected)  # the parent's pool still works
    finally:
        rgru.set_num_threads(None)


ENDLESS = """
import numpy as np, rgru, sys
rgru.set_num_threads({threads})
gru = rgru.GRU(64, 128, seed=0)
x = np.zeros(({batch}, 300_000, 64), np.float32)
print("ready", flush=True)
try:
    gru(x)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (2, 4)])
def test_ctrl_c_ends_a_long_run(threads: int, batch: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS.format(threads=threads, batch=batch)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < 2
        assert process.wait(30) == 0


def test_other_threads_run_while_it_computes() -> None:
    """The GIL is released: a counter in Python continues during one long call."""
    gru = rgru.GRU(64, 256, seed=0)
    x = np.zeros((8, 8000, 64), np.float32)  # some tenths of a second, enough also on a busy machine
    counted, done = [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    before = counted[0]
    gru(x)
    during = counted[0] - before
    done.set()
    thread.join()
    assert during > 10


def test_many_threads_call_one_gru_at_once() -> None:
    gru = rgru.GRU(20, 50, num_layers=2, seed=0)
    expected, _ = gru(BATCH)
    with ThreadPoolExecutor(4) as pool:
        for y, _ in pool.map(gru, [BATCH] * 12):
            assert np.array_equal(y, expected)


def test_too_much_memory_is_an_error_not_an_abort() -> None:
    with pytest.raises(MemoryError):
        rgru.GRU(2**24, 2**22)
