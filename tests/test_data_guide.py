"""The recipes of docs/data.md, each as it stands there, on the real engine."""

from __future__ import annotations

import doctest
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import rgru
from engine_cases import PAIR, make_events, make_sequences

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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the files lie that the guide tells of."""
    monkeypatch.chdir(tmp_path)
    rgru.GRU(2, 4, seed=0).save("model.safetensors")
    x = pa.array([one.tolist() for one in make_sequences(1000)], PAIR)
    pa.parquet.write_table(pa.table({"id": np.arange(1000), "x": x}), "sequences.parquet")
    pa.parquet.write_table(make_events(100), "events.parquet")
    return tmp_path


# Of the engines about each other: Spark about pandas 3, Dask's way to call pandas, options of Ray's own.
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")
@pytest.mark.filterwarnings("ignore:`[a-z0-9_]*` is deprecated:DeprecationWarning")
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.engines] if title in ENGINES else []) for title in NEEDS]
)
def test_recipe(title):
    pytest.importorskip(NEEDS[title])
    if title == "PySpark" and shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("there is no Java for Spark")
    text = re.sub(r"^```.*$", "", SECTIONS[title], flags=re.MULTILINE)
    recipe = doctest.DocTestParser().get_doctest(text, {}, title, str(GUIDE), 0)
    assert recipe.examples
    assert doctest.DocTestRunner().run(recipe).failed == 0


def test_all_recipes_are_tested():
    assert {title for title, text in SECTIONS.items() if ">>>" in text} == set(NEEDS)
