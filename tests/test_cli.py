"""The command line, run as users run it: files and streams in and out, and one line for whatever is wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rgru

SEQUENCE = pa.list_(pa.list_(pa.float32(), 2))
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")


def start(*arguments, **options):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "rgru", *map(str, arguments)], **{**pipes, **options})


def rgru_(*arguments, stdin=b"", **options):
    """Run to the end: (exit code, stdout, stderr)."""
    process = start(*arguments, stdin=subprocess.PIPE, **options)
    out, err = process.communicate(stdin, timeout=120)
    return process.returncode, out, err.decode()


def succeed(*arguments, **options):
    code, out, err = rgru_(*arguments, **options)
    assert (code, err) == (0, "")
    return out


def fail(message, *arguments, **options):
    """Bad input: exit code 2, one line on stderr, nothing on stdout."""
    code, out, err = rgru_(*arguments, **options)
    assert code == 2, err
    assert out == b""
    assert re.fullmatch(r"rgru: error: [^\n]+\n", err), err
    assert re.search(message, err), err


def make_table(count=50, seed=0):
    """Rows with an id, sequences of 0 to 6 steps of 2 numbers, and targets of several types."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=(length, 2)).round(3).tolist() for length in rng.integers(0, 7, count)]
    first = [sum(step[0] for step in one) for one in values]
    return pa.table(
        {
            "id": pa.array(range(count), pa.int32()),
            "values": pa.array(values, SEQUENCE),
            "sign": pa.array(["up" if total > 0 else "down" for total in first]),
            "total": pa.array(first, pa.float64()),
            "pair": pa.array([[total, -total] for total in first], pa.list_(pa.float64(), 2)),
            "running": pa.array([[step[0] for step in one] for one in values], pa.list_(pa.float32())),
            "note": pa.array([None if i % 3 else f"n{i}" for i in range(count)]).dictionary_encode(),
        }
    )


def write_ipc(table, path, rows=20):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def stream(table, rows=20):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


def read(path):
    return pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()


def names(folder):
    return [path.name for path in folder.iterdir()]


def sequences(table):
    return [np.array(one, np.float32).reshape(-1, 2) for one in table["values"].to_pylist()]


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with tables and models, which the tests only read."""
    folder = tmp_path_factory.mktemp("cli")
    table = make_table()
    pq.write_table(table, folder / "data.parquet", row_group_size=20)
    write_ipc(table, folder / "data.arrow")
    pq.write_table(table.slice(0, 0), folder / "empty.parquet")
    (folder / "stream.ipc").write_bytes(stream(table))
    (folder / "corrupt.parquet").write_bytes((folder / "data.parquet").read_bytes()[:-300])
    (folder / "truncated.parquet").write_bytes(b"PAR1 and then nothing")
    (folder / "corrupt.arrow").write_bytes((folder / "data.arrow").read_bytes()[:-300])
    (folder / "text.csv").write_text("id,values\n1,2\n")
    (folder / "nothing").write_bytes(b"")
    for target, name in (("sign", "classifier"), ("total", "regressor"), ("pair", "pairs")):
        fit(folder / "data.parquet", folder / name, target)
    fit(folder / "data.parquet", folder / "every", "running", "--pooling", "every")
    rgru.GRU(2, 3).save(folder / "layer")
    return folder


def fit(data, model, target, *options):
    quick = ["--hidden-size", 4, "--max-epochs", 2, "--seed", 0, "--sequence", "values", "--target", target]
    return succeed("fit", data, "-o", model, *quick, *options)


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
    options = ["--proba", "--column", "guess"]
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet", *options)
    result = read(tmp_path / "out.parquet")
    classifier = rgru.load(work / "classifier")
    proba = np.array(result["guess_proba"].to_pylist(), np.float32)
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


def test_no_rows_give_no_rows(work, tmp_path):
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


def test_dictionaries_may_differ_from_batch_to_batch(work, tmp_path):
    column = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()])
    values = make_table(4)["values"]
    table = pa.table({"values": values, "kind": column})
    for target in ("out.parquet", "out.arrow"):
        succeed("predict", work / "classifier", "-", "-o", tmp_path / target, stdin=stream(table, rows=2))
        assert read(tmp_path / target)["kind"].to_pylist() == ["a", "b", "c", "a"]


def test_threads_do_not_change_the_bits(work, tmp_path):
    for threads in ("1", "2"):
        options = ["--threads", threads, "--proba"]
        succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / threads, *options)
    assert pq.read_table(tmp_path / "1").equals(pq.read_table(tmp_path / "2"))


def test_large_batches_are_cut(tmp_path, monkeypatch):
    from rgru.cli import columnar

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


def test_small_batches_are_gathered_into_row_groups(work, tmp_path):
    source = stream(make_table(500), rows=5)
    succeed("predict", work / "classifier", "-", "-o", tmp_path / "out.parquet", stdin=source)
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 1


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
        "column 'values', to tell 'sign'",
        "2: down, up",
        f"{2 * 15 * (2 + 5 + 1) + 2 * 10 + 2:,}",
    ):
        assert words in card
    assert rgru.load(tmp_path / "model").get_params()["patience"] is None


def test_fit_reads_all_formats_and_gives_the_same_bits(work, tmp_path):
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


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("missing.parquet", r"missing\.parquet: No such file or directory"),
        ("corrupt.parquet", r"corrupt\.parquet: "),
        ("truncated.parquet", r"truncated\.parquet: "),
        ("corrupt.arrow", r"corrupt\.arrow: "),
        ("text.csv", r"text\.csv: neither Parquet nor Arrow IPC"),
        ("nothing", "nothing: neither Parquet nor Arrow IPC"),
        (".", r"Is a directory"),
    ],
)
def test_unreadable_tables(work, tmp_path, data, message):
    fail(message, "predict", work / "classifier", work / data, "-o", tmp_path / "out.parquet")
    fail(message, "fit", work / data, "-o", tmp_path / "model")
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
        ("layer", "layer: expected a classifier or regressor, got a GRU"),
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
        (["--sequence", "running"], "column 'running': expected 2 numbers per step as in training, got 1"),
        (["--column", "id"], r"--column: expected a name that .*data\.parquet does not have, got 'id'"),
        (["--threads", "0"], "--threads: "),
        (["--threads", "many"], "argument --threads: invalid int value: 'many'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_bad_options_of_predict(work, tmp_path, options, message):
    fail(message, "predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet", *options)
    assert not list(tmp_path.iterdir())


def test_probabilities_of_a_regressor(work, tmp_path):
    out = tmp_path / "out.parquet"
    fail("--proba: expected a classifier", "predict", work / "regressor", work / "data.parquet", "-o", out, "--proba")


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
        (["--sequence", "values", "--target", "sign", "--hidden-size", "0"], "hidden_size: expected an integer from 1"),
        (["--sequence", "values", "--target", "sign", "--pooling", "max"], "pooling: expected one of 'last', 'mean'"),
        (
            ["--sequence", "values", "--target", "sign", "--learning-rate", "x"],
            "argument --learning-rate: invalid float",
        ),
        (["--sequence", "values", "--target", "sign", "--patience", "x"], "argument --patience: invalid int or none"),
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
        # Elder pyarrow cannot read a null of a fixed size.
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
    message = r"data\.parquet: expected a list column of numbers, got id: int32, sign: string"
    fail(message, "predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet")
    fail(message, "fit", tmp_path / "data.parquet", "-o", tmp_path / "model")


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
        (data, "--output: expected another file than the input"),
        (tmp_path / "link", "--output: expected another file than the input"),
    ):
        fail(message, *arguments, "-o", output)
    assert data.read_bytes() == (work / "data.parquet").read_bytes()
    if command == "predict":
        model = tmp_path / "model"
        model.write_bytes((work / "classifier").read_bytes())
        fail("--output: expected another file than the input", "predict", model, data, "-o", model)
    else:
        fail("--output: expected a file, got -", *arguments, "-o", "-")
        fail("--plot: expected another file than --output", *arguments, "-o", tmp_path / "m", "--plot", tmp_path / "m")
        fail("--plot: expected another file than the input", *arguments, "-o", tmp_path / "model", "--plot", data)


def test_missing_extras_are_named(work, tmp_path):
    """Without pyarrow the command line still says what to install, and describes models."""
    blocked = "import sys; sys.modules['pyarrow'] = None; from rgru.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments):
        command = [sys.executable, "-c", blocked, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    done = run("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert re.fullmatch(r"rgru: error: [^\n]*pyarrow[^\n]*\n", done.stderr), done.stderr
    assert "pip install 'rgru[cli]'" in done.stderr
    assert run("info", work / "classifier").returncode == 0


# -- interruptions -------------------------------------------------------------------------------------------------


def wait_for_draft(folder):
    deadline = time.monotonic() + 60
    while not list(folder.glob(".*.tmp")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def seen_by_a_shell(code):
    """The exit code, or 128 + n for a process that signal n has ended.

    Once, on a busy machine, an interrupted command printed its line and then ended by SIGINT itself instead of with
    130. A shell sees 130 both times; the cause has not been found.
    """
    return code if code >= 0 else 128 - code


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("target", ["out.parquet", "out.arrow"])
def test_signals_leave_no_file(work, tmp_path, number, target):
    (tmp_path / target).write_text("old")
    with start("predict", work / "classifier", "-", "-o", tmp_path / target, stdin=subprocess.PIPE) as process:
        process.stdin.write(stream(make_table())[:-8])  # all but the end: the command waits for more
        process.stdin.flush()
        wait_for_draft(tmp_path)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    expected = {signal.SIGINT: (130, b"rgru: interrupted\n"), signal.SIGTERM: (143, b"")}
    assert (seen_by_a_shell(process.returncode), err) == expected[number]
    assert names(tmp_path) == [target]
    assert (tmp_path / target).read_text() == "old"


@POSIX
def test_ctrl_c_while_fitting_leaves_no_file(work, tmp_path):
    options = ["--sequence", "values", "--target", "sign", "--max-epochs", 100000, "--patience", "none"]
    with start("fit", work / "data.parquet", "-o", tmp_path / "model", *options) as process:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (seen_by_a_shell(process.returncode), out, err) == (130, b"", b"rgru: interrupted\n")
    assert not list(tmp_path.iterdir())


@POSIX
def test_a_reader_that_leaves_is_no_error(work, tmp_path):
    write_ipc(pa.concat_tables([make_table(2000)] * 20), tmp_path / "data.arrow", rows=2000)
    with start("predict", work / "classifier", tmp_path / "data.arrow", "-o", "-") as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


@POSIX
@pytest.mark.parametrize("target", ["out.parquet", "out.arrow"])
def test_a_full_disk_leaves_no_file(work, tmp_path, target):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    message = r"out\.\w+: .*(File too large|large)"
    fail(message, "predict", work / "classifier", work / "data.parquet", "-o", tmp_path / target, preexec_fn=limit)
    options = ["--sequence", "values", "--target", "sign", "--max-epochs", 1]
    fail("model: File too large", "fit", work / "data.parquet", "-o", tmp_path / "model", *options, preexec_fn=limit)
    assert not list(tmp_path.iterdir())


@POSIX
def test_terminals_get_progress_and_no_binary_data(work, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    out = tmp_path / "out"
    try:
        with start("predict", work / "classifier", work / "data.parquet", "-o", "-", stdout=terminal) as process:
            assert process.wait(timeout=60) == 2
            assert b"stdout is a terminal" in process.stderr.read()
        with start("predict", work / "classifier", "-", "-o", out, stdin=terminal) as process:
            assert process.wait(timeout=60) == 2
            assert b"stdin is a terminal" in process.stderr.read()
        with start("predict", work / "classifier", work / "data.parquet", "-o", out, stderr=terminal) as process:
            assert process.wait(timeout=60) == 0
            assert b"/50.0" in os.read(controller, 4096)
    finally:
        os.close(controller)
        os.close(terminal)
