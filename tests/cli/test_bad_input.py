"""Errors of the command line: exit code 2 and one line on stderr."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_line import SEQUENCE, fail, make_table, names, stream, succeed, write_ipc
from rgru._cli import main


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("missing.parquet", r"missing\.parquet: No such file or directory"),
        ("corrupt.parquet", r"corrupt\.parquet: "),
        ("truncated.parquet", r"truncated\.parquet: "),
        ("corrupt.arrow", r"corrupt\.arrow: "),
        ("text.csv", r"text\.csv: neither Parquet nor Arrow IPC"),
        ("nothing", "nothing: neither Parquet nor Arrow IPC"),
    ],
)
def test_unreadable_tables(work, tmp_path, data, message):
    fail(message, "predict", work / "classifier", work / data, "-o", tmp_path / "out.parquet")
    fail(message, "fit", work / data, "-o", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_fit_refuses_a_folder(work, tmp_path):
    fail("Is a directory", "fit", work, "-o", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_unreadable_streams(work, tmp_path):
    for stdin in (b"", b"no arrow at all, but rather long", stream(make_table())[:1000]):
        fail("stdin: ", "predict", work / "classifier", "-", "-o", tmp_path / "out.parquet", stdin=stdin)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("missing", "missing: No such file or directory"),
        ("text.csv", r"text\.csv: expected a safetensors file"),
        ("nothing", "nothing: expected a safetensors file"),
        ("layer", "layer: expected a model, classifier or regressor, got a GRU"),
    ],
)
def test_unreadable_models(work, tmp_path, model, message):
    fail(message, "predict", work / model, work / "data.parquet", "-o", tmp_path / "out.parquet")
    if model != "layer":
        fail(message, "info", work / model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sequence", "nope"], "--sequence: expected one of the list columns values, pair, running, got 'nope'"),
        (["--sequence", "id"], "--sequence: expected one of the list columns .*, got 'id', of type int32"),
        (["--sequence", "running"], "column 'running': expected 2 features as the model has, got 1"),
        (["--column", "id=label"], r"--column: expected a name that .*data\.parquet does not have, got 'id'"),
        (["--column", "id"], "argument --column: expected NAME=KIND, such as p=probability, got 'id'"),
        (
            ["--column", "p=proba"],
            "--column: expected 'label' or 'probability' of a GRUClassifier for 'p', got",
        ),
        (["--column", "p=label", "--column", "p=probability"], "--column: expected different names, got p, p"),
        (["--threads", "0"], "--threads: "),
        (["--threads", "many"], "argument --threads: invalid int value: 'many'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_bad_options_of_predict(work, tmp_path, options, message):
    fail(message, "predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet", *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".json", ".txt", ".xlsx", ".csv.gz", ".parquet.tmp"])
def test_endings_of_other_formats_are_refused(work, tmp_path, ending):
    message = r"--output: expected an ending \.parquet, \.arrow, \.feather, \.ipc, \.csv, or none for Parquet, got "
    fail(message, "predict", work / "classifier", work / "data.parquet", "-o", tmp_path / f"out{ending}")
    assert not list(tmp_path.iterdir())


def test_csv_has_no_lists(work, tmp_path):
    arguments = ["predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.csv"]
    fail("--keep: expected no lists for CSV, got 'values'", *arguments, "--keep", "values")
    fail(
        r"--output: expected Parquet .* for lists \(column 'prediction_proba'\), got CSV",
        *arguments,
        "--column",
        "prediction_proba=probability",
    )
    for model in ("pairs", "every"):
        arguments[1] = work / model
        fail("--output: expected Parquet .* for lists", *arguments, "--sequence", "values")
    assert not list(tmp_path.iterdir())


def test_probabilities_of_a_regressor(work, tmp_path):
    options = ["-o", tmp_path / "out.parquet", "--column", "p=probability"]
    message = "--column: expected 'value' of a GRURegressor for 'p', got 'probability'"
    fail(message, "predict", work / "regressor", work / "data.parquet", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--sequence: expected one of the list columns values, pair, running, got none"),
        (["--sequence", "values"], "--target: expected one of the columns id, sign, .*, got none"),
        (["--sequence", "values", "--target", "nope"], "--target: expected one of the columns id, .*, got 'nope'"),
        (["--sequence", "values", "--target", "values"], "--target: expected one of the columns id, .*, got 'values'"),
        (["--sequence", "values", "--target", "note"], "column 'note': expected no nulls, got 33"),
        (
            ["--sequence", "values", "--target", "sign", "--task", "regress"],
            "column 'sign': expected numbers .* string",
        ),
        (["--sequence", "values", "--target", "pair", "--task", "classify"], "column 'pair': expected labels .*list"),
        (["--sequence", "values", "--target", "running"], "column 'running': expected lists of one length"),
        (
            ["--sequence", "values", "--target", "total", "--task", "classify"],
            "y: expected class labels, got the number",
        ),
        *(
            (
                ["--sequence", "values", "--target", "sign", "--early-stopping", option, value],
                f"^rgru: error: {option}: {message}",
            )
            for option, value, message in [
                ("--hidden-size", "0", "expected an integer from 1"),
                ("--num-layers", "-1", "expected an integer from 1"),
                ("--dropout", "1.5", "expected "),
                ("--pooling", "max", "expected one of 'last', 'mean'"),
                ("--learning-rate", "nan", "expected a finite number above 0, got nan"),
                ("--batch-size", "0", "expected an integer from 1"),
                ("--max-epochs", "0", "expected an integer from 1"),
                ("--validation-fraction", "2", "expected "),
                ("--patience", "0", "expected an integer from 1"),
                ("--max-grad-norm", "-1", "expected a finite number above 0"),
                ("--dtype", "int8", "expected "),
                ("--seed", "-1", "expected an integer from 0"),
            ]
        ),
        (["--plot", "p.bmp"], "--plot: expected an ending .png, .jpg, .jpeg, .svg, .pdf, or none for PNG, got p.bmp"),
        (
            ["--sequence", "values", "--target", "sign", "--learning-rate", "x"],
            "argument --learning-rate: invalid float",
        ),
        (["--sequence", "values", "--target", "sign", "--patience", "x"], "argument --patience: invalid int or none"),
        (["--patience", "3"], "--patience: expected --early-stopping too"),
        (["--no-early-stopping", "--validation-fraction", "0.2"], "--validation-fraction: expected --early-stopping"),
        (["--vocabulary", "9"], "--vocabulary, --embedding-size: expected both or neither, got one"),
        (
            ["--sequence", "values", "--target", "sign", "--vocabulary", "0", "--embedding-size", "2"],
            "--vocabulary: expected an integer from 1 to 16777216, got 0",
        ),
        (["--task", "cluster"], "argument --task: invalid choice: 'cluster'"),
    ],
)
def test_bad_options_of_fit(work, tmp_path, options, message):
    fail(message, "fit", work / "data.parquet", "-o", tmp_path / "model", *options)
    assert not list(tmp_path.iterdir())


def test_one_class_only(tmp_path):
    table = make_table().append_column("same", pa.array([1] * 50))
    pq.write_table(table, tmp_path / "data.parquet")
    options = ["--sequence", "values", "--target", "same"]
    fail(
        r"y: same\): y: expected at least two classes", "fit", tmp_path / "data.parquet", "-o", tmp_path / "m", *options
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [[1.0, float("nan")]],
            r"rows 0 to 50: column 'values': expected finite numbers, got nan in sequence 50, step 0",
        ),
        (
            [[float("-inf"), 1.0]],
            r"column 'values': expected finite numbers, got -inf in sequence 50, step 0, feature 0",
        ),
        (None, "column 'values': expected no nulls, got 1 null sequence"),
        # Older pyarrow cannot read a null of a fixed size.
        ([None], "column 'values': expected no nulls, got 1 null step|Expected all lists to be of size=2"),
        ([[1.0, None]], "column 'values': expected no nulls, got 1 null value"),
    ],
)
def test_bad_values(work, tmp_path, value, message):
    table = make_table().select(["values", "sign"])
    bad = pa.table({"values": pa.array([value], SEQUENCE), "sign": ["up"]})
    pq.write_table(pa.concat_tables([table, bad]), tmp_path / "data.parquet")
    fail(message, "predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet")
    message = message.removeprefix("rows 0 to 50: ")
    fail(message, "fit", tmp_path / "data.parquet", "-o", tmp_path / "model")
    assert names(tmp_path) == ["data.parquet"]


def test_rows_are_counted_over_batches(work, tmp_path):
    table = pa.concat_tables(
        [make_table(), pa.table({"values": pa.array([[[np.nan, 1.0]]], SEQUENCE)})], promote_options="default"
    )
    message = "stdin, rows 45 to 49|stdin, rows 50 to 50: .* got nan in sequence 50, step 0, feature 0"
    fail(message, "predict", work / "classifier", "-", "-o", tmp_path / "out.parquet", stdin=stream(table, rows=5))


def test_no_list_columns(work, tmp_path):
    pq.write_table(make_table().select(["id", "sign"]), tmp_path / "data.parquet")
    predict = ["predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet"]
    fail(r"data\.parquet: expected column 'values' as in training, got id, sign; --sequence", *predict)
    message = r"data\.parquet: expected a list column of numbers, got id: int32, sign: string"
    fail(message, *predict, "--sequence", "id")
    fail(message, "fit", tmp_path / "data.parquet", "-o", tmp_path / "model")


def test_a_misspelt_option_is_answered_with_the_nearest(work, tmp_path):
    message = r"unrecognized arguments: --hiden-size 3; did you mean --hidden-size\? \(see rgru fit --help\)"
    fail(message, "fit", work / "data.parquet", "-o", tmp_path / "model", "--hiden-size", 3)


def test_options_that_no_training_survives_do_not_blame_the_data(work, tmp_path):
    options = ["fit", work / "data.parquet", "-o", tmp_path / "model", "--sequence", "values", "--target", "sign"]
    message = "^rgru: error: --hidden-size, --num-layers: expected parameters that fit into memory"
    fail(message, *options, "--hidden-size", 10**9)
    fail("^rgru: error: training: expected .* learning_rate is too large", *options, "--learning-rate", 1e300)
    fail("^rgru: error: --threads: expected an integer", *options, "--threads", 0)


@pytest.mark.parametrize("ending", ["onnx", "pt", "keras", "Parquet", "csv"])
def test_models_are_not_written_under_the_names_of_other_formats(work, tmp_path, ending):
    message = rf"--output: expected an ending \.safetensors, the format of models, or none, got .*model\.{ending}"
    fail(message, "fit", work / "data.parquet", "-o", tmp_path / f"model.{ending}")
    assert names(tmp_path) == []


def test_labels_beyond_64_bits_are_named_with_their_column(tmp_path):
    table = pa.table({"values": make_table(4)["values"], "y": pa.array([Decimal(10) ** 30] * 4, pa.decimal128(38, 0))})
    pq.write_table(table, tmp_path / "data.parquet")
    message = "column 'y': expected labels within 64 bits: .*out of bounds"
    fail(message, "fit", tmp_path / "data.parquet", "-o", tmp_path / "model", "--task", "classify")


@pytest.mark.parametrize("y", [[True, False] * 2, [2**60 + 1, 2**53 + 1, -(2**60), 1]], ids=["booleans", "integers"])
def test_targets_that_python_takes_are_taken(tmp_path, y):
    pq.write_table(pa.table({"values": make_table(4)["values"], "y": y}), tmp_path / "data.parquet")
    options = ["--target", "y", "--task", "regress", "--max-epochs", 1]
    succeed("fit", tmp_path / "data.parquet", "-o", tmp_path / "model", *options)


def test_the_same_column_twice(work, tmp_path):
    table = pa.Table.from_arrays([make_table()["values"]] * 2, ["values", "values"])
    fail(
        "expected distinct column names, got values twice",
        "predict",
        work / "classifier",
        "-",
        "-o",
        "-",
        stdin=stream(table),
    )


@pytest.mark.parametrize("command", ["predict", "fit"])
def test_bad_outputs(work, tmp_path, command):
    data = tmp_path / "data.parquet"
    data.write_bytes((work / "data.parquet").read_bytes())
    (tmp_path / "link").symlink_to(data)
    arguments = ["predict", work / "classifier", data] if command == "predict" else ["fit", data]
    for output, message in (
        (tmp_path / "no" / "out", "--output: expected a file in an existing folder, got .*no"),
        (tmp_path, "--output: expected a file, got .*, which is a folder or a device"),
        (os.devnull, "--output: expected a file, got .*, which is a folder or a device"),
        (data, "--output: expected a file other than the input"),
        (tmp_path / "link", "--output: expected a file other than the input"),
    ):
        fail(message, *arguments, "-o", output)
    assert data.read_bytes() == (work / "data.parquet").read_bytes()
    if command == "predict":
        model = tmp_path / "model"
        model.write_bytes((work / "classifier").read_bytes())
        fail("--output: expected a file other than the input", "predict", model, data, "-o", model)
    else:
        fail("--output: expected a file, got -", *arguments, "-o", "-")
        fail("--plot: expected a file other than --output", *arguments, "-o", tmp_path / "m", "--plot", tmp_path / "m")
        fail("--plot: expected a file other than the input", *arguments, "-o", tmp_path / "model", "--plot", data)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("command", ["predict", "fit", "demo"])
def test_outputs_that_are_pipes_stay(work, tmp_path, command):
    os.mkfifo(tmp_path / "train.parquet")
    if command == "demo":
        fail("expected a regular file or a new name, got a pipe", "demo", "--dir", tmp_path)
    else:
        model = [work / "classifier"] if command == "predict" else []
        fail("--output: expected a file", command, *model, work / "data.parquet", "-o", tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").is_fifo()
    assert names(tmp_path) == ["train.parquet"]


def test_write_protected_outputs_are_refused_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "model").write_text("old")
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)  # root may write to every file
    assert main(["fit", "no data", "-o", str(tmp_path / "model")]) == 2
    assert "--output: expected a file that may be written, got" in capsys.readouterr().err


def test_missing_extras_are_named(work, tmp_path):
    """Without pyarrow the command line names the missing extra, and still describes models."""
    blocked = "import sys; sys.modules['pyarrow'] = None; from rgru._cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments):
        command = [sys.executable, "-c", blocked, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    done = run("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert re.fullmatch(r"rgru: error: [^\n]*pyarrow[^\n]*\n", done.stderr), done.stderr
    assert "pip install '.[cli]' in a clone of rgru" in done.stderr
    assert run("info", work / "classifier").returncode == 0


@pytest.mark.parametrize("options", [{"write_page_checksum": True, "compression": "none"}, {"compression": "snappy"}])
def test_a_corrupt_page_is_found_and_leaves_no_file(work, tmp_path, options):
    """In uncompressed pages only checksums reveal damage."""
    table = make_table(5000).select(["values"])
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=1000, use_dictionary=False, **options)
    place = pq.read_metadata(tmp_path / "data.parquet").row_group(2).column(0).data_page_offset
    damaged = bytearray((tmp_path / "data.parquet").read_bytes())
    for i in range(place + 100, place + 110):
        damaged[i] ^= 0xFF
    (tmp_path / "data.parquet").write_bytes(damaged)
    fail(r"data\.parquet: ", "predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet")
    assert names(tmp_path) == ["data.parquet"]


def test_what_predict_writes_can_be_checked_for_damage(work, tmp_path):
    out = tmp_path / "out.parquet"
    succeed("predict", work / "classifier", work / "data.parquet", "-o", out)
    chunk = pq.read_metadata(out).row_group(0).column(0)
    damaged = bytearray(out.read_bytes())
    damaged[chunk.dictionary_page_offset + chunk.total_compressed_size - 1] ^= 0xFF  # the last of its last page
    out.write_bytes(damaged)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        pq.read_table(out, page_checksum_verification=True)


@pytest.mark.parametrize("form", ["file", "stream"])
def test_a_damaged_offset_in_arrow_data_is_found(work, tmp_path, form):
    """Pyarrow by itself would follow the offset."""
    table = make_table().select(["values"]).append_column("word", pa.array(["word"] * 50))
    offsets = np.arange(0, 4 * 51, 4, dtype=np.int32)
    data = tmp_path / "data.arrow"
    if form == "file":
        write_ipc(table, data, rows=50)
    else:
        data.write_bytes(stream(table, rows=50))
    damaged = offsets.copy()
    damaged[30:] += 2**30
    assert data.read_bytes().count(offsets.tobytes()) == 1
    data.write_bytes(data.read_bytes().replace(offsets.tobytes(), damaged.tobytes()))
    for output in ("out.parquet", "out.arrow"):
        fail(r"data\.arrow: ", "predict", work / "classifier", data, "-o", tmp_path / output)
    assert names(tmp_path) == ["data.arrow"]


def subclasses(kind):
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(subclasses(pa.ArrowException), key=lambda kind: kind.__name__))
def test_errors_of_pyarrow_become_one_line_with_the_file(work, tmp_path, monkeypatch, capsys, kind):
    def read(*_arguments, **_options):
        raise kind("more than fits\nDetail: none")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", read)
    out = tmp_path / "out.parquet"
    assert main(["predict", str(work / "classifier"), str(work / "data.parquet"), "-o", str(out)]) == 2
    assert re.fullmatch(r"rgru: error: \S*data\.parquet: '?more than fits.*\n", capsys.readouterr().err)


def test_other_errors_are_raised(monkeypatch):
    def run(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("rgru._cli.info.run", run)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info"])
