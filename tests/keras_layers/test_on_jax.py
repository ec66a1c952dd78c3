"""The tests of the layer with JAX as backend, and the refusal of others: Keras has one backend in a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras")
pytestmark = pytest.mark.peers


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="the tests run on JAX themselves")
@pytest.mark.parametrize("name", ["test_layer.py", "test_models.py"])
def test_on_jax(name):
    pytest.importorskip("jax")
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=0", Path(__file__).with_name(name)]
    run = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout


def test_other_backends_are_refused_by_name():
    code = "import rgru.keras; rgru.keras.GRU(3)"
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "NotImplementedError: KERAS_BACKEND: expected torch or jax, got numpy" in run.stderr
