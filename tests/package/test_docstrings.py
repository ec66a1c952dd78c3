"""Docstrings: their examples run, and those of the public API follow numpydoc's rules."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import rgru

if importlib.util.find_spec("torch"):
    os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras does not look for an installed one

ABSENT = tuple(f"rgru.{name}" for name in ("jax", "keras", "torch") if not importlib.util.find_spec(name))
"""Modules that cannot be imported here, since they are made of classes of a library that is not installed."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(rgru.__path__, "rgru.")
    if "__main__" not in module.name and not module.name.startswith(ABSENT)
]

CHECKS = {
    # Sections and layout. GL01 would forbid a summary on the line of the opening quotes.
    *("GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10"),
    # The summary: there is one, of one line, with a capital letter and a full stop, no third person.
    *("SS01", "SS02", "SS03", "SS04", "SS05", "SS06"),
    # Each parameter: documented in order, with its type, and with a description in sentences.
    *("PR01", "PR02", "PR03", "PR04", "PR05", "PR06", "PR07", "PR08", "PR09", "PR10"),
    # The results likewise.
    *("RT01", "RT02", "RT03", "RT04", "RT05", "YD01"),
    # References to other functions say what they are. An example for each class and function.
    *("SA02", "SA03", "SA04", "EX01"),
}
"""The checks of numpydoc's validation, https://numpydoc.readthedocs.io/en/latest/validation.html."""

CLUSTERS = {"ray", "pyspark"}
"""Packages whose examples need a cluster; the tests of these integrations start one and run them."""

NOT_FOR_METHODS = {"EX01"}
"""The example of a class shows its methods."""

NOT_FOR_RECORDS = {"PR01"}
"""Dataclasses and named tuples document their fields as attributes."""

NOT_FOR_RESULTS = {"rgru.arrow.ArrowColumn": {"EX01"}}
"""The example of `rgru.arrow.predict` shows it."""


def documented() -> list[str]:
    """Return the names of all classes and functions of the documentation site's API pages."""
    pages = sorted((Path(__file__).parents[2] / "docs" / "api").glob("*.md"))
    names = [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M)]
    return [member for name in names if not name.startswith(ABSENT) for member in _members(name)]


def _members(name: str) -> list[str]:
    """Return the name itself, or those of a module's own public classes and functions."""
    found = _load(name)
    if not inspect.ismodule(found):
        return [name]
    own = [(key, value) for key, value in vars(found).items() if getattr(value, "__module__", None) == found.__name__]
    return [f"{name}.{key}" for key, value in own if key[0] != "_" and (inspect.isclass(value) or callable(value))]


def _methods(name: str) -> list[str]:
    """Return the names of a class's public methods and properties that rgru defines; none for a function."""
    found = _load(name)
    if not inspect.isclass(found):
        return []
    classes = [one for one in found.__mro__ if one.__module__.startswith("rgru")]
    names = {key: value for one in reversed(classes) for key, value in vars(one).items() if key[0] != "_"}
    kinds = (classmethod, staticmethod, property)
    return [f"{name}.{key}" for key, value in names.items() if isinstance(value, kinds) or inspect.isroutine(value)]


def _load(name: str) -> Any:
    for cut in range(name.count(".") + 1):
        module, *attributes = name.rsplit(".", cut)
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for attribute in attributes:
            found = getattr(found, attribute)
        return found
    raise LookupError(name)


def _violations(name: str, ignored: set[str]) -> list[str]:
    numpydoc = pytest.importorskip("numpydoc.validate")
    errors = numpydoc.validate(name)["errors"]
    return [f"{name}: {code} {text}" for code, text in errors if code in CHECKS - ignored]


@pytest.mark.parametrize("name", documented())
def test_public_docstrings_follow_numpydoc(name: str) -> None:
    found = _load(name)
    record = dataclasses.is_dataclass(found) or (inspect.isclass(found) and issubclass(found, tuple))
    violations = _violations(name, NOT_FOR_RESULTS.get(name, set()) | (NOT_FOR_RECORDS if record else set()))
    for method in _methods(name):
        violations += _violations(method, NOT_FOR_METHODS)
    assert not violations, "\n".join(violations)


def test_all_that_rgru_exports_is_documented() -> None:
    exported = {name: getattr(rgru, name) for name in rgru.__all__ if name not in ("gpu", "__version__")}
    named = {f"rgru.{name}" for name, value in exported.items() if not inspect.ismodule(value)}
    assert named - set(documented()) == set()


def test_estimators_describe_their_common_parameters_alike() -> None:
    docscrape = pytest.importorskip("numpydoc.docscrape")
    of_classifier, of_regressor = (
        {one.name: (one.type, one.desc) for one in docscrape.ClassDoc(kind)["Parameters"]}
        for kind in (rgru.GRUClassifier, rgru.GRURegressor)
    )
    differing = {name for name, text in of_classifier.items() if of_regressor[name] != text}
    assert list(of_classifier) == list(of_regressor) == list(rgru.GRUClassifier().get_params())
    assert differing == {"pooling", "validation_fraction"}  # the regressor's poolings; the classifier's strata


def _requirements(test: doctest.DocTest) -> set[str]:
    """Return the packages that the examples of a docstring import."""
    trees = [node for example in test.examples for node in ast.walk(ast.parse(example.source))]
    plain = {alias.name for node in trees if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain | {str(n.module) for n in trees if isinstance(n, ast.ImportFrom)}}


def _examples(name: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("name", ["rgru", *MODULES])
def test_examples(name: str) -> None:
    """Examples whose packages are not installed are passed over."""
    runner = doctest.DocTestRunner()
    for test in _examples(name):
        requirements = _requirements(test)
        if not requirements & CLUSTERS and all(importlib.util.find_spec(package) for package in requirements):
            runner.run(test)
    assert runner.failures == 0


def test_there_are_examples() -> None:
    """So that the test above cannot pass by finding none."""
    assert sum(len(_examples(name)) for name in ["rgru", *MODULES]) >= 6
