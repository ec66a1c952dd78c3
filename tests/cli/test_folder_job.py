"""`rgru predict` over the files of a folder, and `--resume` after an earlier run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections import deque

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_line import fail, make_table, names, read, rgru_, start, succeed, write_ipc
from rgru import GRUClassifier
from rgru._cli import main


@pytest.fixture
def parts(tmp_path):
    """Make five tables of 10 rows, one in a subfolder, and other files."""
    table, folder = make_table(), tmp_path / "parts"
    (folder / "year=2026").mkdir(parents=True)
    for i in range(4):
        pq.write_table(table.slice(10 * i, 10), folder / f"part-{i}.parquet")
    write_ipc(table.slice(40), folder / "year=2026" / "part-4.arrow")
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-9.parquet.crc").write_text("checksum")
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-5.parquet").write_text("half written")
    return folder


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_file_has_the_same_output_as_alone(work, parts, tmp_path):
    out = tmp_path / "out"
    column = ["--column", "p=probability"]
    text = succeed("predict", work / "classifier", parts, "-o", out, *column)
    assert text == b"50 rows in 5 files written\n"
    assert written(out) == [*(f"part-{i}.parquet" for i in range(4)), "year=2026/part-4.arrow"]
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "whole.parquet", *column)
    whole = read(tmp_path / "whole.parquet")
    for i in range(4):
        assert read(out / f"part-{i}.parquet").equals(whole.slice(10 * i, 10))
    last = read(out / "year=2026" / "part-4.arrow")
    assert last.equals(whole.slice(40).cast(last.schema))


def test_resume_continues_an_earlier_run(work, parts, tmp_path):
    out, third = tmp_path / "out", parts / "part-2.parquet"
    whole = third.read_bytes()
    third.write_bytes(whole[:-100])
    options = ["predict", work / "classifier", parts, "-o", out]
    code, text, _ = rgru_(*options)
    assert (code, text) == (1, b"40 rows in 4 files written\n")
    for name in ("part-3.parquet", "year=2026/part-4.arrow"):
        (out / name).unlink()
    (out / "year=2026").rmdir()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    third.write_bytes(whole)

    fail(r"--output: expected no .*part-0\.parquet yet; --resume continues an earlier run", *options)
    assert succeed(*options, "--resume") == b"30 rows in 3 files written; 2 had been written before\n"
    assert len(written(out)) == 5
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    assert succeed(*options, "--resume") == b"0 rows in 0 files written; 5 had been written before\n"


@pytest.mark.parametrize("change", ["model", "options", "data"])
def test_outputs_of_other_models_options_or_inputs_are_written_again(work, parts, tmp_path, change):
    out = tmp_path / "out"
    succeed("predict", work / "classifier", parts, "-o", out)
    model, options, count = work / "classifier", [], b"50 rows in 5 files written\n"
    if change == "model":
        model = work / "regressor"
    elif change == "options":
        options = ["--column", "speaker=label"]
    else:
        count = b"7 rows in 1 files written; 4 had been written before\n"
        pq.write_table(make_table(seed=1).slice(0, 7), parts / "part-1.parquet")
    assert succeed("predict", model, parts, "-o", out, "--resume", *options) == count
    succeed("predict", model, parts / "part-1.parquet", "-o", tmp_path / "alone.parquet", *options)
    assert read(out / "part-1.parquet").equals(read(tmp_path / "alone.parquet"))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_killed_run_leaves_whole_files_that_resume_keeps(work, tmp_path, number):
    folder, out = tmp_path / "parts", tmp_path / "out"
    folder.mkdir()
    pq.write_table(make_table(20_000), folder / "part-00.parquet")
    for i in range(1, 30):
        shutil.copy(folder / "part-00.parquet", folder / f"part-{i:02}.parquet")
    options = ["predict", work / "classifier", folder, "-o", out]
    with start(*options) as process:
        deadline = time.monotonic() + 60
        while not (out / "part-01.parquet").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    kept = [name for name in names(out) if not name.startswith(".")]
    assert 2 <= len(kept) < 30
    before = {name: (out / name).stat().st_mtime_ns for name in kept}
    drafts = len(names(out)) - len(kept)
    assert drafts <= (0 if number == signal.SIGTERM else 1)
    report = succeed(*options, "--resume").decode()
    removed = f"; {drafts} drafts of killed runs removed" if drafts else ""
    assert report.endswith(f"{30 - len(kept)} files written; {len(kept)} had been written before{removed}\n")
    assert sorted(names(out)) == [f"part-{i:02}.parquet" for i in range(30)]
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    assert all(pq.read_metadata(out / f"part-{i:02}.parquet").num_rows == 20_000 for i in range(30))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_next_run_removes_the_draft_of_a_killed_one(work, tmp_path):
    pq.write_table(make_table(200_000), tmp_path / "data.parquet")
    options = ["predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet"]
    with start(*options) as process:
        deadline = time.monotonic() + 60
        while len(names(tmp_path)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.communicate(timeout=60)
    succeed(*options)
    assert sorted(names(tmp_path)) == ["data.parquet", "out.parquet"]


@pytest.mark.parametrize("threads", [1, 2])
def test_files_that_cannot_be_predicted_are_named_at_the_end_and_all_others_done(work, parts, tmp_path, threads):
    whole = (parts / "part-0.parquet").read_bytes()
    bad = make_table().slice(0, 1).to_pylist()
    bad[0]["values"] = [[float("nan"), 1.0]]
    late = pa.concat_tables([make_table(20_000), pa.Table.from_pylist(bad, make_table().schema)])
    pq.write_table(late, parts / "part-0.parquet")  # found while earlier rows of it are being written
    (parts / "part-1.parquet").write_bytes(whole[:-100])
    (parts / "part-2.parquet").write_bytes(b"")
    pq.write_table(make_table().select(["id"]), parts / "part-9.parquet")
    (parts / "gone.parquet").symlink_to(tmp_path / "nowhere")
    options = ["predict", work / "classifier", parts, "-o", tmp_path / "out", "--threads", threads]
    code, out, err = rgru_(*options)
    assert code == 1
    assert out == b"20 rows in 2 files written\n"
    lines = err.splitlines()
    told = [
        r"gone\.parquet: No such file or directory",
        r"part-0\.parquet, rows \d+ to 20000: column 'values': expected finite numbers, got nan in sequence 20000",
        r"part-1\.parquet: ",
        r"part-2\.parquet: neither Parquet nor Arrow IPC",
        r"part-9\.parquet: expected column 'values' as in training, got id",
    ]
    for line, words in zip(lines, told, strict=False):
        assert re.match(rf"rgru: error: \S*{words}", line)
    assert lines[len(told) :] == ["rgru: 5 of 7 files could not be predicted"]
    assert written(tmp_path / "out") == ["part-3.parquet", "year=2026/part-4.arrow"]
    (parts / "part-1.parquet").write_bytes(whole)
    code, out, err = rgru_(*options, "--resume")
    assert (code, out) == (1, b"10 rows in 1 files written; 2 had been written before\n")
    assert err.endswith("rgru: 4 of 5 files could not be predicted\n")


@pytest.mark.parametrize("when", ["first", "last"])
def test_files_that_fail_in_the_model_are_skipped_too(work, parts, monkeypatch, capsys, when):
    """One huge sequence may take too much memory, for example."""
    output = parts.parent / "out"
    calls = []
    predict_each = GRUClassifier._predict_each

    def predicting(self, inputs):
        calls.append(None)
        if len(calls) != 2:
            yield from predict_each(self, inputs)
        elif when == "last":
            deque(inputs, maxlen=0)
        if len(calls) == 2:
            raise MemoryError

    monkeypatch.setattr(GRUClassifier, "_predict_each", predicting)
    assert main(["predict", *map(str, [work / "classifier", parts, "-o", output])]) == 1
    out, err = capsys.readouterr()
    assert out == "40 rows in 4 files written\n"
    assert re.match(r"rgru: error: \S*part-1\.parquet, from row 0: MemoryError\n", err)
    assert written(output) == ["part-0.parquet", "part-2.parquet", "part-3.parquet", "year=2026/part-4.arrow"]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_ends_the_job_and_failures_so_far_are_named(work, parts, tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    (parts / "part-0.parquet").write_bytes(b"")
    code, out, err = rgru_("predict", work / "classifier", parts, "-o", tmp_path / "out", preexec_fn=limit)
    assert (code, out) == (2, b"")
    lines = err.splitlines()
    assert len(lines) == 2
    assert "part-0.parquet: neither" in lines[0]
    assert re.search("out/part-1.parquet: .*large", lines[1])
    assert written(tmp_path / "out") == []


def test_files_without_a_mark_are_not_replaced(work, parts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    pq.write_table(make_table(), out / "part-3.parquet")
    (out / "notes.txt").write_text("mine")
    options = ["predict", work / "classifier", parts, "-o", out, "--resume"]
    fail(r"--output: expected files of an earlier run, got .*part-3\.parquet, which is not one", *options)
    assert sorted(names(out)) == ["notes.txt", "part-3.parquet"]


def test_bad_folders(work, parts, tmp_path):
    model, file = work / "classifier", tmp_path / "file"
    file.write_text("")
    (tmp_path / "empty").mkdir()
    fail("--resume: expected a folder as DATA, got", "predict", model, work / "data.parquet", "-o", file, "--resume")
    fail("--output: expected a folder, as DATA is one, got", "predict", model, parts, "-o", file)
    fail("--output: expected a folder, as DATA is one, got -", "predict", model, parts, "-o", "-")
    fail("--output: expected a folder neither in DATA", "predict", model, parts, "-o", parts)
    fail("--output: expected a folder neither in DATA", "predict", model, parts, "-o", parts / "out")
    fail("--output: expected a folder neither in DATA", "predict", model, parts, "-o", tmp_path)
    assert not (parts / "out").exists()
    fail(
        "expected files ending in .parquet, .*, got none", "predict", model, tmp_path / "empty", "-o", tmp_path / "out"
    )
    fail("No such file or directory", "predict", model, parts, "-o", tmp_path / "not" / "there")


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_are_followed_and_broken_ones_reported(work, parts, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    pq.write_table(make_table(7), elsewhere / "more.parquet")
    (parts / "linked").symlink_to(elsewhere)
    options = ["predict", work / "classifier", parts, "-o", tmp_path / "out"]
    assert succeed(*options) == b"57 rows in 6 files written\n"
    assert read(tmp_path / "out" / "linked" / "more.parquet").num_rows == 7
    (elsewhere / "back").symlink_to(parts)
    fail("back: expected each folder once, got a link", *options, "--resume")
    (elsewhere / "back").unlink()
    (parts / "gone.parquet").symlink_to(tmp_path / "nowhere")
    code, _, err = rgru_(*options, "--resume")
    assert code == 1
    assert re.match(r"rgru: error: .*gone\.parquet: No such file or directory\n", err)


def test_predictions_from_predictions_do_not_keep_the_mark(work, parts, tmp_path):
    """The mark of an input is dropped, so that its output does not pass as a part of another job."""
    model, first, second = work / "classifier", tmp_path / "first", tmp_path / "second"
    succeed("predict", model, parts, "-o", first)
    assert b"rgru.predict" in pq.read_schema(first / "part-0.parquet").metadata
    second.mkdir()
    succeed("predict", model, first / "part-0.parquet", "-o", second / "part-0.parquet", "--column", "again=label")
    message = r"--output: expected files of an earlier run, got .*part-0\.parquet, which is not one"
    fail(message, "predict", model, parts, "-o", second, "--resume")
