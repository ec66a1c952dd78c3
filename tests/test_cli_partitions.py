"""`rgru predict` over the files of a folder, and going on with what an earlier run has left."""

from __future__ import annotations

import os
import signal
import time

import pyarrow.parquet as pq
import pytest

from command_line import fail, make_table, names, read, start, succeed, write_ipc


@pytest.fixture
def parts(tmp_path):
    """Five tables of 10 rows, one in a subfolder, and files that are none."""
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


def test_each_file_has_the_rows_that_it_has_alone(work, parts, tmp_path):
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


def test_resume_goes_on_where_a_run_has_stopped(work, parts, tmp_path):
    out, third = tmp_path / "out", parts / "part-2.parquet"
    whole = third.read_bytes()
    third.write_bytes(whole[:-100])
    options = ["predict", work / "classifier", parts, "-o", out]
    fail(r"part-2\.parquet: ", *options)
    assert written(out) == ["part-0.parquet", "part-1.parquet"]
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    third.write_bytes(whole)

    fail(r"--output: expected no .*part-0\.parquet yet; --resume goes on with what is there", *options)
    assert succeed(*options, "--resume") == b"30 rows in 3 files written; 2 had been written before\n"
    assert len(written(out)) == 5
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    assert succeed(*options, "--resume") == b"0 rows in 0 files written; 5 had been written before\n"


@pytest.mark.parametrize("change", ["model", "options", "data"])
def test_what_was_made_otherwise_is_made_anew(work, parts, tmp_path, change):
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
    table = make_table(20_000)
    for i in range(60):
        pq.write_table(table, folder / f"part-{i:02}.parquet")
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
    assert 2 <= len(kept) < 60
    before = {name: (out / name).stat().st_mtime_ns for name in kept}
    report = succeed(*options, "--resume").decode()
    assert report.endswith(f"{60 - len(kept)} files written; {len(kept)} had been written before\n")
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    assert all(pq.read_metadata(out / f"part-{i:02}.parquet").num_rows == 20_000 for i in range(60))


def test_files_of_somebody_else_are_left_alone(work, parts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    pq.write_table(make_table(), out / "part-3.parquet")
    (out / "notes.txt").write_text("mine")
    options = ["predict", work / "classifier", parts, "-o", out, "--resume"]
    fail(r"--output: expected files of an earlier run, got .*part-3\.parquet, which is none", *options)
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
def test_links_are_followed_and_broken_ones_told(work, parts, tmp_path):
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
    fail(r"gone\.parquet: expected a file, got a broken link", *options, "--resume")


def test_predictions_that_are_data_again_do_not_pass_as_parts_of_a_job(work, parts, tmp_path):
    """The mark of their own making stays behind, so that an output of another job is known as such."""
    model, first, second = work / "classifier", tmp_path / "first", tmp_path / "second"
    succeed("predict", model, parts, "-o", first)
    assert b"rgru.predict" in pq.read_schema(first / "part-0.parquet").metadata
    second.mkdir()
    succeed("predict", model, first / "part-0.parquet", "-o", second / "part-0.parquet", "--column", "again=label")
    message = r"--output: expected files of an earlier run, got .*part-0\.parquet, which is none"
    fail(message, "predict", model, parts, "-o", second, "--resume")
