"""The sections of docs/migrate.md, each where the packages that it imports are installed."""

import importlib.util
import re
from pathlib import Path

import pytest

from guides import run_python, sections

SECTIONS = sections((Path(__file__).parents[2] / "docs" / "migrate.md").read_text("utf-8"))
OTHERS = {
    "PyTorch": ["torch"],
    "Keras": ["keras", "torch", "h5py"],
    "ONNX": ["onnx", "onnxruntime"],
    "Example: words to phonemes": ["g2p_en"],
}
"""What sections need besides their imports."""


@pytest.mark.parametrize("title", [pytest.param(title, marks=pytest.mark.peers) for title in SECTIONS])
def test_section(title, tmp_path):
    imported = re.findall(r"^>>> (?:import|from) (.*?)(?: import .*)?$", SECTIONS[title], re.MULTILINE)
    packages = {name.split(" as ")[0].split(".")[0] for line in imported for name in line.split(", ")}
    for package in sorted(packages | set(OTHERS.get(title, []))):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    run_python(SECTIONS[title], tmp_path)


def test_every_section_has_examples():
    assert list(SECTIONS) == ["PyTorch", "Keras", "ONNX", "Flax", "Equinox", "Arrays", "Example: words to phonemes"]
    assert all(">>>" in text for text in SECTIONS.values())
