"""The code blocks of the guide to PyTorch."""

from pathlib import Path

import pytest

from guides import run_python

pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def test_the_guide(tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "guides" / "pytorch.md"
    run_python(guide.read_text("utf-8"), tmp_path, "-W", "error")
