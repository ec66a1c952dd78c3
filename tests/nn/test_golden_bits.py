"""The committed bits, which every machine computes, with every instruction set, on any number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rgru

GOLDENS = Path(__file__).parents[1] / "goldens"


def bits(path):
    with np.load(path) as arrays:
        return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("isa", rgru.info()["available_isas"])
def test_every_instruction_set_computes_the_committed_bits(isa, threads, tmp_path):
    found = tmp_path / "bits.npz"
    environment = os.environ | {"RGRU_ISA": isa, "RGRU_NUM_THREADS": threads}
    subprocess.run([sys.executable, GOLDENS / "make_bits.py", found], env=environment, check=True, timeout=300)
    found, expected = bits(found), bits(GOLDENS / "bits.npz")
    assert list(found) == list(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_committed_bits_cover_what_is_promised():
    names = " ".join(bits(GOLDENS / "bits.npz"))
    for part in ("after.both.y", "before.forward.stream", "dparams", "initial", "softmax", "proba", "every.predict"):
        assert all(f"{precision}." in names for precision in ("float32", "float64"))
        assert part in names
