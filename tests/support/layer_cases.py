"""Both cells, random inputs, and biases that are not zero, for tests of layers."""

import numpy as np
import pytest

CELLS = [pytest.param(False, id="reset_before"), pytest.param(True, id="reset_after")]


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_biases(gru, seed=5):
    """Set random parameters, biases included: initially they are zero, and errors would go unnoticed."""
    rng = np.random.default_rng(seed)
    gru.params.update({name: rng.normal(0, 0.5, array.shape).astype(gru.dtype) for name, array in gru.params.items()})
    return gru
