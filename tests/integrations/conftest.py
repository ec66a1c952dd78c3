"""Fixtures of the tests of engines."""

import pytest


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file of `engine_cases.GRU`."""
    from engine_cases import GRU

    path = tmp_path_factory.mktemp("engine") / "model.safetensors"
    GRU.save(path)
    return path
