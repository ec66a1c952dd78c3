"""The recipes of docs/data.md, each run as printed, on the real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import rgru
from engine_cases import PAIR, make_events, make_sequences, need_spark
from guides import run_python, run_shell, sections

GUIDE = Path(__file__).parents[2] / "docs" / "data.md"
SECTIONS = sections(GUIDE.read_text("utf-8"))
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


def write_files(folder):
    rgru.GRU(2, 4, seed=0).save(folder / "model.safetensors")
    x = pa.array([one.tolist() for one in make_sequences(1000)], PAIR)
    pa.parquet.write_table(pa.table({"id": np.arange(1000), "x": x}), folder / "sequences.parquet")


@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.engines] if title in ENGINES else []) for title in NEEDS]
)
def test_recipe(title, tmp_path):
    """Each runs in a process of its own, in a folder with the files that the guide describes."""
    if title == "PySpark":
        need_spark()
    pytest.importorskip(NEEDS[title])
    write_files(tmp_path)
    pa.parquet.write_table(make_events(100), tmp_path / "events.parquet")
    run_python(SECTIONS[title], tmp_path)


def test_folder_of_files(tmp_path):
    write_files(tmp_path)
    sequences = make_sequences(20)
    model = rgru.GRURegressor(hidden_size=4, max_epochs=1, random_state=0).fit(sequences, np.arange(20))
    model.save(tmp_path / "model.safetensors")
    (tmp_path / "recordings").mkdir()
    (tmp_path / "sequences.parquet").rename(tmp_path / "recordings" / "sequences.parquet")
    run_shell(SECTIONS["Without an engine"], tmp_path)
    assert pa.parquet.read_table(tmp_path / "predictions" / "sequences.parquet").num_rows == 1000


def test_all_recipes_are_tested():
    assert {title for title, text in SECTIONS.items() if ">>>" in text} == set(NEEDS)
