"""The command line, run as users run it: files and streams in and out."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

import rgru
from command_line import SEQUENCE, fit, make_table, names, read, rgru_, sequences, stream, succeed, write_ipc
from rgru._cli.completion import SHELLS

# -- predict -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["data.parquet", "data.arrow", "stream.ipc"])
@pytest.mark.parametrize("target", ["out.parquet", "out.arrow", "out.feather", "out.ipc", "OUT.ARROW", "out"])
def test_files_to_files(work, tmp_path, source, target):
    assert succeed("predict", work / "classifier", work / source, "-o", tmp_path / target) == b""
    out = tmp_path / target
    result = pq.read_table(out) if target in ("out.parquet", "out") else pa.ipc.open_file(out).read_all()
    table = make_table()
    assert result.column_names == [*table.column_names, "prediction"]
    assert result.drop_columns("prediction").to_pylist() == table.to_pylist()
    for name in table.column_names:
        if name != "note":
            assert result.schema.field(name).type == table.schema.field(name).type, name
    expected = rgru.load(work / "classifier").predict(sequences(table))
    assert result["prediction"].to_pylist() == expected.tolist()
    assert names(tmp_path) == [target]


def test_streams_to_streams(work):
    table = make_table()
    out = succeed("predict", work / "classifier", "-", "-o", "-", stdin=stream(table))
    result = pa.ipc.open_stream(out).read_all()
    expected = rgru.load(work / "classifier").predict(sequences(table))
    assert result["prediction"].to_pylist() == expected.tolist()
    assert result.drop_columns("prediction").to_pylist() == table.to_pylist()


def test_probabilities(work, tmp_path):
    options = ["--column", "guess=label", "--column", "p=q=probability"]
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet", *options)
    result = read(tmp_path / "out.parquet")
    classifier = rgru.load(work / "classifier")
    proba = np.array(result["p=q"].to_pylist(), np.float32)
    np.testing.assert_array_equal(proba, classifier.predict_proba(sequences(make_table())))
    assert result["guess"].to_pylist() == classifier.classes_[proba.argmax(axis=1)].tolist()


@pytest.mark.parametrize("model", ["regressor", "pairs", "every"])
@pytest.mark.parametrize("target", ["out.parquet", "out.arrow"])
def test_numbers(work, tmp_path, model, target):
    options = ["--sequence", "values"]
    succeed("predict", work / model, work / "data.parquet", "-o", tmp_path / target, *options)
    predicted = rgru.load(work / model).predict(sequences(make_table()))
    assert read(tmp_path / target)["prediction"].to_pylist() == [one.tolist() for one in predicted]


def test_a_model_finds_its_column(work, tmp_path):
    """Three columns are lists of numbers; the model knows which it was trained on."""
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet")


def test_an_empty_table_has_no_predictions(work, tmp_path):
    for model in ("classifier", "regressor", "pairs", "every"):
        for target in ("out.parquet", "out.arrow"):
            succeed("predict", work / model, work / "empty.parquet", "-o", tmp_path / target)
            assert read(tmp_path / target).num_rows == 0
            assert "prediction" in read(tmp_path / target).column_names


def test_an_existing_output_is_replaced_and_keeps_its_link(work, tmp_path):
    (tmp_path / "real.parquet").write_text("old")
    (tmp_path / "link.parquet").symlink_to(tmp_path / "real.parquet")
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "link.parquet")
    assert (tmp_path / "link.parquet").is_symlink()
    assert read(tmp_path / "real.parquet").num_rows == 50


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_existing_outputs_keep_their_modes(work, tmp_path):
    outputs = [tmp_path / name for name in ("out.parquet", "out.arrow", "model", "plot.png")]
    for path in outputs:
        path.write_text("old")
        path.chmod(0o600)
    for path in outputs[:2]:
        succeed("predict", work / "classifier", work / "data.parquet", "-o", path)
    fit(work / "data.parquet", outputs[2], "sign", "--plot", outputs[3])
    for path in outputs:
        assert path.read_bytes() != b"old"
        assert path.stat().st_mode & 0o777 == 0o600


def test_threads_do_not_change_the_bits(work, tmp_path):
    for threads in ("1", "2"):
        options = ["--threads", threads, "--column", "p=probability"]
        succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / threads, *options)
    assert pq.read_table(tmp_path / "1").equals(pq.read_table(tmp_path / "2"))


def test_pandas_is_not_imported(work, tmp_path):
    """Importing pandas takes longer than many jobs; pyarrow does so to convert some objects."""
    pytest.importorskip("pandas")
    code = "import sys; from rgru._cli import main; main(sys.argv[1:]); sys.exit('pandas' in sys.modules)"
    options = ["predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet"]
    subprocess.run([sys.executable, "-c", code, *options], check=True)


def test_large_batches_are_split(tmp_path, monkeypatch):
    from rgru._cli import readers as columnar

    table = make_table(1000)
    write_ipc(table, tmp_path / "one.arrow", rows=1000)
    pq.write_table(table, tmp_path / "one.parquet")
    for name in ("one.arrow", "one.parquet"):
        monkeypatch.setattr(columnar, "_BATCH_ROWS", 300)
        monkeypatch.setattr(columnar, "_BATCH_BYTES", 2**24)
        with columnar.open_table(str(tmp_path / name)) as opened:
            batches = list(opened.batches(None))
            assert opened.num_rows == 1000 or (
                name == "one.arrow" and not hasattr(pa.ipc.RecordBatchFileReader, "count_rows")
            )
        assert max(batch.num_rows for batch in batches) == 300
        assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()
        monkeypatch.setattr(columnar, "_BATCH_BYTES", 4096)
        with columnar.open_table(str(tmp_path / name)) as opened:
            assert len(list(opened.batches(["id"]))) >= 4


def test_batches_are_split_by_their_decoded_size(work, tmp_path, monkeypatch):
    """Zeros take almost no space in a file."""
    from rgru._cli import readers as columnar

    zeros = pa.array([[[0.0, 0.0]] * 1000] * 500, pa.list_(pa.list_(pa.float32(), 2)))
    pq.write_table(pa.table({"id": range(500), "a.b": zeros}), tmp_path / "zeros.parquet")
    assert (tmp_path / "zeros.parquet").stat().st_size < 50_000
    monkeypatch.setattr(columnar, "_BATCH_BYTES", 2**18)
    for columns in (None, ["a.b"]):
        with columnar.open_table(str(tmp_path / "zeros.parquet")) as table:
            sizes = [batch.nbytes for batch in table.batches(columns)]
        assert max(sizes) <= 2**18 * 1.1
        assert len(sizes) < 20


def test_small_batches_are_gathered_into_row_groups(work, tmp_path):
    source = stream(make_table(500), rows=5)
    succeed("predict", work / "classifier", "-", "-o", tmp_path / "out.parquet", stdin=source)
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 1


def test_small_tables_have_dictionaries_only_where_values_repeat(work, tmp_path):
    values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    steps = pa.array(values.reshape(-1, 1, 2).tolist(), SEQUENCE)
    table = pa.table({"values": steps, "often": np.sign(values[::2])})
    pq.write_table(table, tmp_path / "data.parquet")
    succeed("predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet").drop_columns("prediction").equals(table)
    group = pq.read_metadata(tmp_path / "out.parquet").row_group(0)
    size = {group.column(i).path_in_schema: group.column(i).total_uncompressed_size for i in range(group.num_columns)}
    assert size["values.list.element.list.element"] < 1.3 * values.nbytes
    assert size["often"] < 0.1 * values.nbytes / 2


# -- fit, info, demo -----------------------------------------------------------------------------------------------


def test_fit_and_info(work, tmp_path):
    (tmp_path / "two.parquet").write_bytes(b"")
    pq.write_table(make_table().select(["values", "sign"]), tmp_path / "two.parquet")
    options = [
        "--hidden-size",
        5,
        "--bidirectional",
        "--max-epochs",
        3,
        "--early-stopping",
        "--patience",
        "none",
        "--plot",
        tmp_path / "p.png",
    ]
    out = succeed("fit", tmp_path / "two.parquet", "-o", tmp_path / "model", *options).decode()
    assert "3 epochs at" in out
    assert "validation loss" in out
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    card = succeed("info", tmp_path / "model").decode()
    for words in (
        "GRUClassifier",
        "reset-before GRU, 2 features, 1 layer of 5 units in each direction, float32",
        "column 'values', to predict 'sign'",
        "2: down, up",
        f"{2 * 15 * (2 + 5 + 1) + 2 * 10 + 2:,}",
    ):
        assert words in card
    assert rgru.load(tmp_path / "model").get_params()["patience"] is None


def test_fit_reads_all_formats_with_the_same_bits(work, tmp_path):
    fit(work / "data.arrow", tmp_path / "a", "sign")
    for name, source in (("a", work / "data.arrow"), ("b", work / "stream.ipc")):
        fit(source, tmp_path / name, "sign")
        again, first = rgru.load(tmp_path / name), rgru.load(work / "classifier")
        X = sequences(make_table())
        np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))


def test_the_task_follows_the_type_of_the_targets(work, tmp_path):
    assert isinstance(rgru.load(work / "classifier"), rgru.GRUClassifier)
    assert isinstance(rgru.load(work / "regressor"), rgru.GRURegressor)
    fit(work / "data.parquet", tmp_path / "model", "id", "--task", "regress")
    assert isinstance(rgru.load(tmp_path / "model"), rgru.GRURegressor)


def test_info_of_a_layer_and_of_the_installation(work):
    assert "reset-before GRU, 2 features, 1 layer of 3 units, float32" in succeed("info", work / "layer").decode()
    out = succeed("info").decode()
    assert rgru.__version__ in out
    assert str(rgru.info()["isa"]) in out


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG", "svg", "pdf", "png", ""])
@pytest.mark.parametrize("stopping", ["--no-early-stopping", "--early-stopping"])
def test_the_ending_determines_the_format_of_the_training_curve(work, tmp_path, ending, stopping):
    picture = (tmp_path / "picture").with_suffix(f".{ending}" if ending else "")
    fit(work / "data.parquet", tmp_path / "model", "sign", "--plot", picture, stopping)
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "": b"\x89PNG"}
    assert picture.read_bytes().startswith(begins.get(ending, b"\xff\xd8\xff"))


def test_csv(work, tmp_path):
    """CSV holds numbers, texts with quotes, nulls and values of dictionaries."""
    table = make_table().append_column("text", pa.array(['say "a, b"', "line\nbreak", "ä", "", None] * 10))
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=20)
    for model, options in (("classifier", []), ("regressor", ["--sequence", "values"])):
        out = tmp_path / "out.csv"
        succeed("predict", work / model, tmp_path / "data.parquet", "-o", out, *options)
        types = {"prediction": pa.float64()} if model == "regressor" else {}
        kinds = {"id": pa.int32(), "total": pa.float64(), **types}
        read_as = csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False)
        result = csv.read_csv(out, convert_options=read_as, parse_options=csv.ParseOptions(newlines_in_values=True))
        kept = ["id", "sign", "total", "note", "text"]
        assert result.column_names == [*kept, "prediction"]
        assert result.select(kept).to_pylist() == table.select(kept).to_pylist()
        expected = rgru.load(work / model).predict(sequences(table))
        assert result["prediction"].to_pylist() == expected.tolist()
        out.unlink()
    assert names(tmp_path) == ["data.parquet"]


def test_without_a_command_help_is_printed():
    assert rgru_() == (0, succeed("--help"), "")


ASCII = {**os.environ, "PYTHONIOENCODING": "ascii"}
C = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("variables", [ASCII, C], ids=["encoding", "locale"])
def test_ascii_terminals(tmp_path, variables):
    """Letters outside the terminal's encoding are escaped."""
    table = make_table().select(["values"]).append_column("größe", pa.array(["groß", "klein"] * 25))
    pq.write_table(table, tmp_path / "data.parquet")
    options = ["--hidden-size", 3, "--max-epochs", 2, "--plot", tmp_path / "p.png"]
    out = succeed("fit", tmp_path / "data.parquet", "-o", tmp_path / "modell-ä", *options, env=ASCII)
    assert rb"modell-\xe4" in out
    (tmp_path / "modell-ä").rename(tmp_path / "model")
    card = succeed("info", tmp_path / "model", env=variables).decode("ascii")
    assert r"to predict 'gr\xf6\xdfe'" in card
    assert r"2: gro\xdf, klein" in card
    for command in ([], ["fit"], ["predict"], ["info"], ["demo"]):
        succeed(*command, "--help", env=variables)


def test_main_restores_the_stdout_of_its_caller():
    code = """
import sys
from rgru._cli import main
before = sys.stdout.errors
main(["info"])
sys.exit(sys.stdout.errors != before)
"""
    for variables in (ASCII, {**os.environ, "PYTHONIOENCODING": "utf-8"}):
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=variables)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(shell):
    pytest.importorskip("shtab")
    script = succeed("--print-completion", shell).decode()
    for word in ("predict", "on-error", "hidden-size", "null"):
        assert word in script


def test_completion_in_bash(tmp_path):
    pytest.importorskip("shtab")
    (tmp_path / "script").write_bytes(succeed("--print-completion", "bash"))
    (tmp_path / "model.safetensors").write_bytes(b"")

    def complete(*words):
        code = f"""
. ./script
COMP_WORDS=({" ".join(words)} '')
COMP_CWORD={len(words)}
_shtab_rgru rgru '' ''
echo "${{COMPREPLY[@]}}"
"""
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert {"demo", "fit", "predict", "info"} <= set(complete("rgru"))
    assert "model.safetensors" in complete("rgru", "info")
    assert complete("rgru", "predict", "--on-error") == ["raise", "null"]


def test_version_and_help():
    assert succeed("--version").decode().strip() == f"rgru {rgru.__version__}"
    for command in ([], ["fit"], ["predict"], ["info"], ["demo"]):
        assert b"usage: rgru" in succeed(*command, "--help")


def test_demo(tmp_path):
    out = succeed("demo", "--dir", tmp_path / "demo").decode()
    accuracy = float(re.search(r"accuracy (\d\.\d+); [\d,]+ sequences/s", out)[1])
    assert accuracy >= 0.95
    result = read(tmp_path / "demo" / "predictions.parquet")
    assert np.mean(result["prediction"].to_numpy() == result["speaker"].to_numpy()) == pytest.approx(accuracy, abs=1e-4)
    for name in ("train.parquet", "test.parquet", "model.safetensors", "predictions.parquet", "training.png"):
        assert str(tmp_path / "demo" / name) in out
        assert (tmp_path / "demo" / name).stat().st_size > 0
