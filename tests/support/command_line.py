"""Helpers of the command line's tests: commands in this process and in processes of their own, tables and models."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import rgru
from rgru._cli import main

SEQUENCE = pa.list_(pa.list_(pa.float32(), 2))


def start(*arguments, **options):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "rgru", *map(str, arguments)], **{**pipes, **options})


def rgru_(*arguments, stdin=b"", **options):
    """Run a command; return its exit code, stdout and stderr.

    A process of its own is for those that read or write streams, or whose process has `options`. All others run in
    this one: to start Python and import what they need takes far longer than most of them.
    """
    if options or "-" in arguments:
        process = start(*arguments, stdin=subprocess.PIPE, **options)
        out, err = process.communicate(stdin, timeout=120)
        return process.returncode, out, err.decode()
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code or 0
        finally:
            rgru.set_num_threads(None)
    out.flush()
    return code, out.buffer.getvalue(), err.getvalue()


EPOCHS = r"(epoch \d+/\d+: training loss [^\n]* sequences/s\n)*"
"""The report of `fit` on stderr."""


def succeed(*arguments, **options):
    code, out, err = rgru_(*arguments, **options)
    assert code == 0, err
    assert re.fullmatch(EPOCHS if arguments[0] in ("fit", "demo") else "", err), err
    return out


def fail(message, *arguments, **options):
    """Check that bad input ends with exit code 2, one line on stderr and nothing on stdout."""
    code, out, err = rgru_(*arguments, **options)
    assert code == 2, err
    assert out == b""
    assert re.fullmatch(rf"{EPOCHS}rgru: error: [^\n]+\n", err), err
    assert re.search(message, err), err


def make_table(count=50, seed=0):
    """Make a table: an id, sequences of 0 to 6 steps of 2 numbers, and targets of several types."""
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


def fit(data, model, target, *options):
    quick = ["--hidden-size", 4, "--max-epochs", 2, "--seed", 0, "--sequence", "values", "--target", target]
    return succeed("fit", data, "-o", model, *quick, *options)


def make_folder(folder):
    """Fill `folder` with tables, readable and not, and models."""
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
