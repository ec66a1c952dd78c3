"""What users are told to install: extras that there are, from a clone, as long as rgru is on no index."""

from __future__ import annotations

import re
from pathlib import Path

import rgru
from rgru.integrations.missing import install

ROOT = Path(__file__).parents[1]
SOURCES = [*Path(rgru.__file__).parent.rglob("*.py")]
GUIDES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]


def test_nothing_is_said_to_be_on_an_index():
    for path in (*SOURCES, *GUIDES):
        text = path.read_text(encoding="utf-8").replace("``pip install 'rgru[...]'`` would find nothing", "")
        assert not re.search(r"pip install '?rgru", text), path


def test_all_extras_are_there():
    [extras] = re.findall(
        r"\[project.optional-dependencies\]\n(.*?)\n\[",
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    there = set(re.findall(r"^(\w+) = ", extras, re.MULTILINE))
    told = {extra for path in SOURCES for extra in re.findall(r"install\([\"'](\w+)[\"']\)", path.read_text("utf-8"))}
    told |= {
        extra for path in SOURCES for extra in re.findall(r"needed\(\"[\w.]+\", \"(\w+)\"\)", path.read_text("utf-8"))
    }
    told |= {
        extra
        for path in GUIDES
        for some in re.findall(r"pip install '\.\[([\w,]+)\]'", path.read_text("utf-8"))
        for extra in some.split(",")
    }
    assert {"cli", "gpu"} <= told <= there


def test_the_words():
    assert install("cli") == "pip install '.[cli]' in a clone of rgru"
