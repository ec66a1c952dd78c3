"""The examples in the docstrings of the installed package."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import rgru

MODULES = [module.name for module in pkgutil.walk_packages(rgru.__path__, "rgru.") if "__main__" not in module.name]


@pytest.mark.parametrize("name", ["rgru", *MODULES])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    """So that the test above cannot pass by finding none."""
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in ["rgru", *MODULES]]
    assert sum(bool(test.examples) for module in modules for test in finder.find(module)) >= 6
