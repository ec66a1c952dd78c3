"""The golden files that the Rust crate loads hold what Python computes: equal bits there are equal bits here."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import rgru

GOLDENS = Path(__file__).parents[1] / "goldens"
EXPECTED = ".expected.safetensors"
NAMES = [path.name.removesuffix(EXPECTED) for path in sorted((GOLDENS / "saved").glob(f"*{EXPECTED}"))]


@pytest.fixture(scope="module")
def predicted():
    spec = spec_from_file_location("make_saved", GOLDENS / "make_saved.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.predicted


@pytest.mark.parametrize("name", NAMES)
def test_python_computes_the_outputs(name, predicted):
    expected = load_file(GOLDENS / "saved" / f"{name}{EXPECTED}")
    model = rgru.load(GOLDENS / "saved" / f"{name}.safetensors")
    y = predicted(model, rgru.Ragged(expected["x"], expected["offsets"]))
    assert (y.dtype, y.shape) == (expected["y"].dtype, expected["y"].shape)
    np.testing.assert_array_equal(y, expected["y"])


def test_there_are_files_of_every_kind():
    kinds = {type(rgru.load(GOLDENS / "saved" / f"{name}.safetensors")).__name__ for name in NAMES}
    assert kinds == {"GRU", "Model", "GRUClassifier", "GRURegressor"}
