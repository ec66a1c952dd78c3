"""Every code block of README.md and of the pages in docs/.

The recipes for data engines are in test_data_guide.py, the README's section on PyTorch in convert/test_torch.py, the
sections on other frameworks in convert/test_migrate_guide.py, the guide to PyTorch in pytorch/test_guide.py, the page
on ONNX in onnx_sessions/test_guide.py, that on Keras and JAX in keras_layers/test_guide.py, the service in
test_serving.py, the scripts of published models in convert/test_examples.py and convert/test_real_models.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import rgru
from guides import run_python, run_shell, sections

ROOT = Path(__file__).parents[2]
PAGES = {page.relative_to(ROOT).as_posix(): page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))}
TEXTS = {name: page.read_text("utf-8") for name, page in PAGES.items()}
README, DATA, GPU, MIGRATE = "README.md", "docs/data.md", "docs/guides/gpu.md", "docs/migrate.md"
PYTORCH, ONNX, SERVING = "docs/guides/pytorch.md", "docs/guides/onnx.md", "docs/guides/serving.md"
KERAS, EXAMPLES = "docs/guides/keras_jax.md", "docs/guides/examples.md"
NEEDS_PYTORCH = "Have a model?"  # a section of the README
README_SECTIONS = sections(TEXTS[README])
INSTALLATION = {README, "docs/index.md"}  # their shell blocks are steps of .ci/run, in a fresh environment


def pages_with(language, *, without):
    return [name for name, text in TEXTS.items() if f"```{language}\n" in text and name not in without]


LEFT_OUT = {README, DATA, GPU, MIGRATE, PYTORCH, ONNX, SERVING, KERAS, EXAMPLES}  # tested elsewhere


@pytest.mark.parametrize("name", pages_with("python", without=LEFT_OUT))
def test_python(name, tmp_path):
    run_python(TEXTS[name], tmp_path, "-W", "error")


@pytest.mark.parametrize(
    "title", [title for title, text in README_SECTIONS.items() if ">>>" in text and title != NEEDS_PYTORCH]
)
def test_readme(title, tmp_path):
    """Each section by itself, so that a reader can start anywhere."""
    run_python(README_SECTIONS[title], tmp_path, "-W", "error")


@pytest.mark.gpu
def test_python_on_a_gpu(cupy, tmp_path):
    run_python(TEXTS[GPU], tmp_path)


@pytest.mark.parametrize("name", pages_with("sh", without={DATA, *INSTALLATION}))
def test_shell(name, tmp_path):
    for file, split in (("recordings", "train"), ("new", "test")):
        pq.write_table(rgru.datasets.japanese_vowels_table(split), tmp_path / f"{file}.parquet")
    run_shell(TEXTS[name], tmp_path)


def test_no_block_is_left_out():
    """All Python blocks are examples, other languages are known, and the Rust guide is a doctest of the crate."""
    for name, text in TEXTS.items():
        fences = re.findall(r"^[ \t]*```(\S*)", text, re.MULTILINE)
        assert set(fences[::2]) <= {"python", "sh", "rust", "toml"}, name
        assert set(fences[1::2]) <= {""}, name
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            script = re.fullmatch(r"--8<--\n(examples/\w+\.py)\n--8<--\n", block)
            included = script is not None and (ROOT / script[1]).is_file()
            assert block.startswith(">>> ") or included or name == SERVING, f"{name}: {block}"
    assert pages_with("rust", without=()) == ["docs/guides/rust.md"]
    assert 'include_str!("../docs/guides/rust.md")' in (ROOT / "src/lib.rs").read_text("utf-8")
