"""Cases that once aborted, hung or failed silently."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

import rgru
from rgru import _core

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("shape", "error"), [((2**40, 1, 0), ValueError), ((2**52, 0, 3), MemoryError)])
def test_arrays_that_claim_endless_sequences(shape: tuple[int, ...], error: type[Exception]) -> None:
    """They contain no bytes, but each sequence needs memory."""
    with pytest.raises(error):
        rgru.GRU(3, 8)(np.zeros(shape, np.float32))


def test_a_stream_larger_than_the_address_space() -> None:
    with pytest.raises(MemoryError):
        _core.Stream(rgru.GRU(3, 8)._weights(), 2**63)


def test_adam_does_not_hold_its_lock_while_python_runs() -> None:
    """Two threads in its error path once stopped the whole interpreter."""
    adam = _core.Adam(1e-3, 0.9, 0.999, 1e-8)
    single, double = np.zeros(4, np.float32), np.zeros(4)
    adam.step([single], [single.copy()], None)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def fail() -> None:
            for _ in range(300):
                with pytest.raises((TypeError, ValueError), match="params"):
                    adam.step([double.copy()], [double.copy()], None)

        threads = [threading.Thread(target=fail, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        sys.setswitchinterval(interval)


INTERRUPTING = """
import numpy as np, os, rgru, signal
stream = rgru.GRU(512, 1024).stream(4096)
def handler(*_):
    try:
        stream.h
    except ValueError as error:
        os.write(1, f"{error}\\n".encode())  # unbuffered: the next alarm may interrupt a print
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
x = np.zeros((4096, 512), np.float32)
for _ in range(4):
    stream.step(x)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms on this system")
def test_a_handler_may_touch_the_stream_it_interrupts() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTING], capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.splitlines()) <= {"stream: expected one call at a time, got one during another"}


def test_a_diverged_model_is_not_a_result() -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((20, 5, 2)), random.integers(0, 2, 20)
    model = rgru.GRUClassifier(learning_rate=1e38, max_epochs=1, batch_size=20)
    with pytest.raises(FloatingPointError, match="finite size of the parameters"):
        model.fit(x, y)
    assert not hasattr(model, "model_")


def test_sequences_without_steps_are_neither_learnt_nor_watched_step_by_step() -> None:
    x = [np.zeros((0, 2))] * 3 + [np.ones((3, 2))]
    y = [np.zeros(0)] * 3 + [np.ones(3)]
    options = {"pooling": "every", "validation_fraction": 0.5, "max_epochs": 2, "early_stopping": True}
    for seed in range(6):
        model = rgru.GRURegressor(**options, random_state=seed)
        with pytest.raises(ValueError, match=r"^early_stopping: expected at least two sequences .* got 1$"):
            model.fit(x, y)
        assert len(model.fit(2 * x, 2 * y).history_.validation_loss) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: {**c, "classes": {**c["classes"], "values": [300, 301], "dtype": "int8"}},
        lambda c: {**c, "classes": {**c["classes"], "values": [10**400, 1]}},
        lambda c: {**c, "output_size": 2**31 - 1},
        lambda c: {**c, "history": {**c["history"], "best_epoch": 99}},
        lambda c: {**c, "history": {**c["history"], "validation_loss": [0.5, 0.5]}},
        lambda c: {**c, "history": None},
        lambda c: {**c, "gru": []},
        lambda c: {**c, "parameters": 3},
    ],
)
def test_damaged_configurations(tmp_path: Path, damage: object) -> None:
    random = np.random.default_rng(0)
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=1, random_state=0)
    path = tmp_path / "model.safetensors"
    model.fit(random.standard_normal((20, 5, 2)), random.integers(0, 2, 20)).save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata["config"] = json.dumps(damage(json.loads(metadata["config"])))  # type: ignore[operator]
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        rgru.load(path)
    for command in (["info", str(path)], ["predict", str(path), "none.parquet", "-o", str(tmp_path / "out.parquet")]):
        done = subprocess.run([sys.executable, "-m", "rgru", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("rgru: error: ")
        assert len(done.stderr.splitlines()) == 1


def test_a_deeply_nested_configuration(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    metadata = {"format": "rgru", "version": "1", "kind": "GRU", "config": "[" * 200_000}
    safetensors.numpy.save_file({"a": np.zeros(1)}, path, metadata)
    with pytest.raises(ValueError, match=r"deep\.safetensors: expected the configuration as JSON"):
        rgru.load(path)


@pytest.mark.skipif(os.name != "posix", reason="a shell's closed descriptors")
@pytest.mark.parametrize("redirection", ["<&-", ">&-"])
def test_closed_descriptors(tmp_path: Path, redirection: str) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "model.safetensors"
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=1, random_state=0)
    model.fit(random.standard_normal((20, 5, 2)), random.integers(0, 2, 20)).save(path)
    out = tmp_path / "out.parquet" if redirection == "<&-" else "-"
    command = f"exec {sys.executable} -m rgru predict {path} - -o {out} {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "closed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_output_through_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="ymbolic links"):
        rgru.GRU(2, 3).save(tmp_path / "a")


def test_names_of_the_largest_length(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    rgru.GRU(2, 3).save(path)
    assert path.exists()
    with pytest.raises(FileNotFoundError, match=r"nowhere.x'"):
        rgru.GRU(2, 3).save(tmp_path / "nowhere" / "x")


@pytest.mark.usefixtures("ctrl_c")
def test_gradients_of_one_long_sequence_can_be_interrupted() -> None:
    """The backward pass polls for signals throughout."""
    gru = rgru.GRU(256, 256, seed=0)
    x = np.zeros((1, 20_000, 256), np.float32)
    y, _, tape = gru.record(x)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()

    def walk() -> None:
        for _ in range(100):
            tape.backward(y)

    with pytest.raises(KeyboardInterrupt):
        walk()
    assert time.monotonic() - start < 5
    timer.join()
