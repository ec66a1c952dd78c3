"""No code for the CPU calls functions whose bits depend on the machine: the platform's mathematics, and BLAS.

The Rust side of it is a list in clippy.toml.
"""

import ast
from pathlib import Path

import pytest

import rgru

PACKAGE = Path(rgru.__file__).parent
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if not {"_cuda", "cuda"} & {*path.relative_to(PACKAGE).parts}]
TRANSCENDENTAL = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "power", "float_power", "cbrt", "hypot"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "arcsin", "arccos", "arctan", "arctan2"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "arcsinh", "arccosh", "arctanh", "erf", "erfc", "gamma"),
    *("logaddexp", "logaddexp2", "lgamma", "dist", "logspace", "geomspace"),
}
BY_BLAS = {"dot", "vdot", "vecdot", "inner", "outer", "matmul", "tensordot", "einsum", "linalg", "cov", "corrcoef"}
DRAWN = {"uniform", "normal", "standard_normal", "exponential", "gamma", "beta", "lognormal"}
"""NumPy's generators that use the platform's mathematics, or a product and a sum that may be fused."""


def suspicious(source):
    """Return the lines whose results may depend on the machine."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in TRANSCENDENTAL | BY_BLAS | DRAWN:
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and node.module in {"math", "cmath"}:
            yield from ((node.lineno, name.name) for name in node.names if name.name in TRANSCENDENTAL)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            yield node.lineno, "@"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _of_literals(node):
            yield node.lineno, "**"


def _of_literals(node):
    return all(isinstance(getattr(number, "value", None), int) for number in (node.left, node.right))


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(PACKAGE).as_posix() for path in SOURCES])
def test_nothing_of_the_platform_is_called(path):
    assert list(suspicious(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "math.cos(x)",
        "np.exp(x)",
        "from math import tanh",
        "x @ y",
        "n**0.5",
        "x**2",
        "np.dot(x, y)",
        "rng.uniform(0, 1)",
    ],
)
def test_machine_dependent_lines_are_found(line):
    assert len(list(suspicious(line))) == 1


@pytest.mark.parametrize("line", ["math.sqrt(x)", "2**31", "np.cumsum(x)", "f(*a, **options)", "rng.random()"])
def test_exact_lines_are_accepted(line):
    assert list(suspicious(line)) == []
