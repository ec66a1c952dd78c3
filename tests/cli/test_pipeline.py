"""Reading and writing overlap with computing, also across the files of a folder; errors end them cleanly."""

from __future__ import annotations

import os
import stat
import time
from contextlib import nullcontext
from functools import partial
from itertools import count, repeat
from threading import Event, active_count

import pyarrow.parquet as pq
import pytest

from command_line import make_table, names, read
from rgru._cli import job
from rgru._cli import writers as outputs
from rgru._cli.pipeline import ahead, behind


def put_all(works):
    with behind() as put:
        for work in works:
            put(work)


def fail():
    time.sleep(0.05)  # so that the next one is already in the queue
    raise OSError("full")


def test_nothing_is_done_after_an_error_of_the_work():
    done = []
    with pytest.raises(OSError, match="full"):
        put_all([partial(done.append, 1), fail, partial(done.append, 2)])
    assert done == [1]


def test_an_error_comes_from_a_later_call():
    with pytest.raises(OSError, match="full"):
        put_all(repeat(fail))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_pending_work_is_done_after_an_error_of_the_block_but_not_after_an_interruption(error):
    done, begun, threads = [], Event(), active_count()

    def first():
        begun.set()
        time.sleep(0.2)
        done.append(1)

    with pytest.raises(error), behind() as put:  # noqa: PT012
        put(first)
        put(partial(done.append, 2))
        begun.wait(30)
        raise error
    assert done == ([1, 2] if error is ValueError else [1])
    assert active_count() == threads


def test_reading_ahead_ends_with_its_generator():
    taken, threads = [], active_count()
    items = ahead(taken.append(i) or i for i in count())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()
    assert 3 <= len(taken) <= 5
    assert active_count() == threads


@pytest.fixture
def parts(tmp_path):
    """Make three tables, the second one empty."""
    for i, rows in enumerate((10, 0, 20)):
        pq.write_table(make_table(rows), tmp_path / f"{i}.parquet")
    return [job.Part(str(tmp_path / f"{i}.parquet"), str(tmp_path / "out" / f"{i}.parquet")) for i in range(3)]


def test_a_table_is_read_while_the_one_before_is_written(work, parts, monkeypatch):
    opened, waits = Event(), []
    open_table, open_output = job.open_table, outputs.open_output

    def opening(path):
        if path == parts[2].data:
            opened.set()
        return open_table(path)

    def writing(path, *arguments):
        waits.append(opened.wait(30))
        return open_output(path, *arguments)

    monkeypatch.setattr(job, "open_table", opening)
    monkeypatch.setattr(outputs, "open_output", writing)
    done = job.Job.load(str(work / "classifier")).run(parts)
    assert waits == [True] * 3
    assert (done.rows, done.failed) == (30, 0)


def test_tables_before_one_that_fails_are_whole(work, parts, tmp_path):
    (tmp_path / "2.parquet").write_bytes((tmp_path / "2.parquet").read_bytes()[:-100])
    with pytest.raises(job.CommandError, match=r"2\.parquet: "):
        job.Job.load(str(work / "classifier")).run(parts)
    assert sorted(names(tmp_path / "out")) == ["0.parquet", "1.parquet"]
    assert [read(tmp_path / "out" / f"{i}.parquet").num_rows for i in (0, 1)] == [10, 0]


def test_tables_before_one_that_cannot_be_written_are_whole(work, parts, tmp_path):
    (tmp_path / "out" / "2.parquet").mkdir(parents=True)
    with pytest.raises(job.CommandError, match=r"out/2\.parquet: "):
        job.Job.load(str(work / "classifier")).run(parts)
    assert sorted(names(tmp_path / "out")) == ["0.parquet", "1.parquet", "2.parquet"]


@pytest.mark.skipif(os.name != "posix", reason="folders of POSIX")
@pytest.mark.parametrize("whole", [True, False])
def test_files_are_synced_one_by_one_and_their_folder_at_the_end(work, parts, tmp_path, monkeypatch, whole):
    """Files before one that fails are included."""
    synced, sync = [], os.fsync

    def recorded(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        synced.append(sum(not name.startswith(".") for name in names(tmp_path / "out")) if is_folder else "file")
        sync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    if not whole:
        (tmp_path / "2.parquet").write_bytes(b"")
    with nullcontext() if whole else pytest.raises(job.CommandError, match=r"2\.parquet: "):
        job.Job.load(str(work / "classifier")).run(parts)
    assert synced == (["file"] * 3 + [3] if whole else ["file"] * 2 + [2])
