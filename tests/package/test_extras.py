"""Installation hints: they name existing extras, from a clone, as long as rgru is on no index."""

from __future__ import annotations

import re
from pathlib import Path

import rgru
from rgru._optional_imports import install

ROOT = Path(__file__).parents[2]
SOURCES = [*Path(rgru.__file__).parent.rglob("*.py")]
GUIDES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


def test_no_hint_names_an_index():
    for path in (*SOURCES, *GUIDES):
        text = path.read_text(encoding="utf-8").replace("``pip install 'rgru[...]'`` would find no package", "")
        assert not re.search(r"pip install '?rgru", text), path


def found(pattern, paths):
    return {one for path in paths for one in re.findall(pattern, path.read_text(encoding="utf-8"))}


def test_all_named_extras_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [extras] = re.findall(r"\[project.optional-dependencies\]\n(.*?)\n\[", project, re.DOTALL)
    there = set(re.findall(r"^(\w+) = ", extras, re.MULTILINE))
    told = found(r"install\(\"(\w+)\"\)", SOURCES) | found(r"install\('(\w+)'\)", SOURCES)
    told |= found(r"needed\(\"[\w.]+\", \"(\w+)\"\)", SOURCES)
    told |= {extra for some in found(r"pip install '\.\[([\w,]+)\]'", GUIDES) for extra in some.split(",")}
    assert {"cli", "gpu", "polars"} <= told <= there


def test_the_words():
    assert install("cli") == "pip install '.[cli]' in a clone of rgru"
