"""ONNX's own tests of the operator GRU, through `onnx.backend`'s runner."""

import unittest
import warnings

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers

import rgru.onnx.backend as rgru_backend  # noqa: E402
from rgru.onnx._gru_step import GruStep  # noqa: E402

KNOWN = {
    "test_gru_batchwise_cpu",
    "test_gru_bidirectional_cpu",
    "test_gru_defaults_cpu",
    "test_gru_reverse_cpu",
    "test_gru_seq_length_cpu",
    "test_gru_with_initial_bias_cpu",
}
"""Those of onnx 1.23; older versions lack some."""


@pytest.fixture(scope="module")
def cases():
    """The test cases of ONNX's runner for this backend, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cases of other operators
        import onnx.backend.test

        runner = onnx.backend.test.BackendTest(rgru_backend, __name__)
        runner.include("test_gru")
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(runner.test_cases["OnnxBackendNodeModelTest"])
        return {case._testMethodName: case for case in suite if case._testMethodName.endswith("_cpu")}


def gru_cases(cases):
    return {name: case for name, case in cases.items() if name.startswith("test_gru")}


def test_none_of_the_known_cases_is_left_out(cases):
    import onnx

    found = set(gru_cases(cases))
    assert found <= KNOWN or len(found) > len(KNOWN)  # a later version may add some
    assert len(found) >= 4
    if tuple(map(int, onnx.__version__.split(".")[:2])) >= (1, 23):
        assert found >= KNOWN


def test_all_cases_pass_and_run_on_rgru(cases, monkeypatch):
    """A case that stayed with ONNX Runtime would run no step of rgru's."""
    ran = []
    original = GruStep.run
    monkeypatch.setattr(GruStep, "run", lambda step, values: (ran.append(step), original(step, values)))
    found = gru_cases(cases)
    for name, case in found.items():
        before = len(ran)
        result = unittest.TestResult()
        case.run(result)
        assert result.testsRun == 1, name
        assert not result.skipped, name
        assert result.wasSuccessful(), f"{name}: {result.errors + result.failures}"
        assert len(ran) > before, name
    assert len(ran) >= len(found) >= 4


def test_other_devices_are_refused():
    assert not rgru_backend.supports_device("CUDA:0")
    with pytest.raises(ValueError, match="device: expected 'CPU', got 'CUDA'"):
        rgru_backend.prepare(None, "CUDA")
