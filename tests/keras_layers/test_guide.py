"""The code blocks of the guide to Keras and JAX."""

from pathlib import Path

import pytest

from guides import run_python

for package in ("torch", "keras", "jax"):
    pytest.importorskip(package)
pytestmark = pytest.mark.peers


def test_the_guide(tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "guides" / "keras_jax.md"
    run_python(guide.read_text("utf-8"), tmp_path)
