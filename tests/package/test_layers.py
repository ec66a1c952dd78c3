"""The rooms of the package use each other one way, and no two modules use each other in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import rgru

PACKAGE = Path(rgru.__file__).parent

LAYERS = (
    ("_core", "_optional_imports"),
    ("_validation",),
    ("_files", "_cuda", "datasets"),
    ("_data", "_runtime", "gpu"),
    ("nn",),
    ("_backends",),
    ("model",),
    ("train",),
    ("estimators", "convert", "jax", "plot", "torch"),
    ("_load", "keras"),
    ("arrow", "sessions", "onnx"),
    ("integrations", "_compare"),
    ("rgru",),  # __init__.py
    ("_cli",),
    ("__main__",),
)
"""The lowest rooms first: each may use those of earlier lines, and none of its own line but itself."""


def imports():
    """The modules of rgru, each with those that it imports: at its top, in a function, or for its types alone."""
    files = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    names = {*files, "rgru._core"}
    found = {}
    for name, path in files.items():
        used = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: imports are absolute, so that they name the room"
                within = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= {one if one in names else node.module for one in within}
        found[name] = used & names - {name}
    return found | {"rgru._core": set()}


def room(name):
    """`rgru.train._loop` is in the room train; `rgru` itself is a room."""
    return name.split(".")[1] if "." in name else name


def test_every_room_has_a_place():
    assert {room(name) for name in imports()} == {one for layer in LAYERS for one in layer}


def test_rooms_use_lower_rooms_only():
    height = {one: i for i, layer in enumerate(LAYERS) for one in layer}
    upward = [
        f"{name} imports {used}"
        for name, all_used in imports().items()
        for used in all_used
        if room(used) != room(name) and height[room(used)] >= height[room(name)]
    ]
    assert sorted(upward) == []


def test_no_modules_use_each_other_in_a_circle():
    TopologicalSorter(imports()).prepare()  # a CycleError has the circle
