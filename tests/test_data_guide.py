"""The recipes of docs/data.md, each as it stands there, on the real engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import rgru
from engine_cases import PAIR, make_events, make_sequences, need_spark

GUIDE = Path(__file__).parent.parent / "docs" / "data.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
NEEDS = {
    "Arrow": "pyarrow",
    "Polars": "polars",
    "DuckDB": "duckdb",
    "pandas": "pandas",
    "Dask": "dask.dataframe",
    "Ray Data": "ray.data",
    "PySpark": "pyspark.sql",
}
ENGINES = ("Dask", "Ray Data", "PySpark")  # beyond what the ordinary tests install


@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.engines] if title in ENGINES else []) for title in NEEDS]
)
def test_recipe(title, tmp_path, monkeypatch):
    """In a process of its own, as its reader would try it, where the files lie that the guide tells of."""
    if title == "PySpark":
        need_spark()
    pytest.importorskip(NEEDS[title])
    monkeypatch.chdir(tmp_path)
    rgru.GRU(2, 4, seed=0).save("model.safetensors")
    x = pa.array([one.tolist() for one in make_sequences(1000)], PAIR)
    pa.parquet.write_table(pa.table({"id": np.arange(1000), "x": x}), "sequences.parquet")
    pa.parquet.write_table(make_events(100), "events.parquet")
    recipe = re.sub(r"^```.*$", "", SECTIONS[title], flags=re.MULTILINE)
    assert ">>>" in recipe
    Path("recipe.txt").write_text(recipe, "utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "doctest", "recipe.txt"], capture_output=True, text=True, timeout=200, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_all_recipes_are_tested():
    assert {title for title, text in SECTIONS.items() if ">>>" in text} == set(NEEDS)
