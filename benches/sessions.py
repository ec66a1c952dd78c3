"""Events per second and memory of `rgru.Sessions`: ``python benches/sessions.py``.

Each case runs in a process of its own, so that its memory can be told. Memory is what the process holds more with all
sessions than before the first, beside the bytes of their states; and the most that it held until then.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT, HIDDEN = 16, 64

CASES: dict[str, dict[str, Any]] = {
    "int64 keys": {},
    "int64 keys, reset-after": {"reset_after": True},
    "int64 keys, max_sessions": {"max_sessions": True},
    "int64 keys, timeout": {"timeout": 1e9},
    "int64 keys, float16 states": {"state_dtype": "float16"},
    "float16 states, both bounds": {"state_dtype": "float16", "max_sessions": True, "timeout": 1e9},
    "a third of the keys are new": {"max_sessions": True, "new": True},
    "strings of NumPy": {"keys": "numpy"},
    "strings of Arrow": {"keys": "arrow"},
    "two layers": {"num_layers": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--only", choices=[*CASES, "a dict of torch states"], help="this case alone, in this process")
    options = parser.parse_args()
    if options.only in CASES:
        run(options.only, options.sessions, options.batch)
    elif options.only:
        run_torch(options.sessions // 10, options.batch)
    else:
        print(f"{options.sessions:,} sessions, I={INPUT}, H={HIDDEN}, batches of {options.batch:,}, {rgru.info()}")
        for name in [*CASES, "a dict of torch states"]:
            arguments = [f"--sessions={options.sessions}", f"--batch={options.batch}", f"--only={name}"]
            subprocess.run([sys.executable, __file__, *arguments], check=True)


def run(name: str, count: int, batch: int) -> None:
    case = dict(CASES[name])
    form, new = case.pop("keys", "int"), case.pop("new", False)
    of_gru = {key: case.pop(key) for key in ("num_layers", "reset_after") if key in case}
    if "max_sessions" in case:
        case["max_sessions"] = count
    rng = np.random.default_rng(0)
    gru = rgru.GRU(INPUT, HIDDEN, seed=0, **of_gru)
    x = rng.standard_normal((batch, INPUT)).astype(np.float32)
    gru(x[:, None])  # threads and buffers are there
    drawn = [rng.integers(0, count * 3 // 2 if new else count, batch) for _ in range(50)]
    batches = [keys_of(form, numbers) for numbers in drawn]
    first = [keys_of(form, np.arange(start, min(start + batch, count))) for start in range(0, count, batch)]
    before = memory()
    Path("/proc/self/clear_refs").write_text("5")  # the most from now on
    sessions = rgru.Sessions(gru, **case)
    start = time.perf_counter()
    for keys in first:
        sessions.step(keys, x[: len(keys)])
    beginning = count / (time.perf_counter() - start)
    most = memory("VmHWM") - before
    gc.collect()
    held = memory() - before
    states = len(sessions) * HIDDEN * gru.num_layers * sessions.state_dtype.itemsize
    seconds = []
    for _ in range(4):
        for keys in batches:
            start = time.perf_counter()
            sessions.step(keys, x)
            seconds.append(time.perf_counter() - start)
    rate, slowest = batch / np.median(seconds), 1e3 * max(seconds)
    memory_words = f"memory {held / 2**20:4.0f} MiB = {held / states:.2f} of the states, at most {most / states:.2f}"
    words = f"{rate / 1e6:5.2f} million events/s (slowest batch {slowest:.1f} ms, new sessions {beginning / 1e6:.2f})"
    print(f"{name:28} {words}, {memory_words}", flush=True)


def keys_of(form: str, numbers: NDArray[np.int64]) -> Any:
    if form == "int":
        return numbers
    strings = np.char.add("user-", numbers.astype(str))
    if form == "numpy":
        return strings
    import pyarrow as pa

    return pa.array(strings)


def run_torch(count: int, batch: int) -> None:
    """What one would write first: a dict of states, the cell over their stack."""
    try:
        import torch
    except ImportError:
        print("a dict of torch states: PyTorch is not installed")
        return
    torch.set_num_threads(int(str(rgru.info()["num_threads"])))
    rng = np.random.default_rng(0)
    cell = torch.nn.GRUCell(INPUT, HIDDEN)
    x = torch.randn(batch, INPUT)
    before = memory()
    states = {key: torch.zeros(HIDDEN) for key in range(count)}
    held = memory() - before
    seconds = []
    with torch.inference_mode():
        for _ in range(10):
            keys = rng.permutation(count)[:batch].tolist()
            start = time.perf_counter()
            after = cell(x, torch.stack([states[key] for key in keys]))
            states.update(zip(keys, after.unbind(), strict=True))
            seconds.append(time.perf_counter() - start)
    rate = batch / np.median(seconds)
    print(
        f"{'a dict of torch states':28} {rate / 1e6:5.2f} million events/s, {count:,} sessions, "
        f"memory {held / 2**20:4.0f} MiB = {held / (count * HIDDEN * 4):.2f} of the states"
    )


def memory(which: str = "VmRSS") -> int:
    """Bytes of this process that are in memory, or were at most; Linux tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024


if __name__ == "__main__":
    main()
