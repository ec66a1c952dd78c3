"""The code blocks of the page on ONNX models."""

from pathlib import Path

import pytest

from guides import run_python

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def test_the_guide(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "guides" / "onnx.md"
    run_python(page.read_text("utf-8"), tmp_path)  # PyTorch's exporter has deprecations of its own
