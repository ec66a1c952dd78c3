"""The service of docs/guides/serving.md: started as it is, and asked over the loopback address."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

import rgru
from guides import blocks
from rgru.model import Activation, Linear, Pool

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "serving.md").read_text("utf-8")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(port, path, body):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def service(tmp_path):
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    gru = rgru.GRU(2, 6, seed=0)
    model = rgru.Model([gru, Pool("last"), Linear(6, 3, seed=1), Activation("softmax")])
    model.save(tmp_path / "model.safetensors")
    (tmp_path / "service.py").write_text(blocks(PAGE, "python"), "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with socket.socket() as one:
                    if one.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield model, port
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.peers
def test_the_service_answers(service):
    model, port = service
    sequences = [[[0.1, 0.2], [0.3, -1.0]], [[1.0, 1.0]]]
    status, found = ask(port, "/predict", sequences)
    expected = model(rgru.Ragged.from_list([np.array(one, np.float32) for one in sequences]))
    assert status == 200
    np.testing.assert_array_equal(np.array(found, np.float32), expected)
    for step in sequences[0]:
        status, found = ask(port, "/events/ada", step)
        assert status == 200
    np.testing.assert_array_equal(np.array(found, np.float32), expected[0])
    status, found = ask(port, "/events/ada", [1.0, 2.0, 3.0])
    assert (status, found["detail"]) == (422, "x: expected 2 features (input_size), got 3")
