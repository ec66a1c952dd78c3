"""Drafts left by killed processes: a resumed job removes them, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from command_line import make_table, names, succeed
from rgru._files import drafts
from rgru._files.drafts import new_draft, remove_abandoned

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes of POSIX")

TWO_DAYS = 172_800


def place():
    return new_draft(drafts.Path("file")).name.split("-")[1]


def gone():
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def make(folder, name, *, old=False):
    path = folder / name
    path.write_text("half")
    if old:
        os.utime(path, (time.time() - TWO_DAYS,) * 2)
    return path


def test_drafts_of_ended_processes_are_removed(tmp_path):
    make(tmp_path, f".{gone()}-{place()}-0123abcd.tmp")
    assert remove_abandoned(tmp_path) == 1
    assert names(tmp_path) == []


def test_drafts_of_running_processes_stay(tmp_path):
    """Drafts of this process, of others, and of other users, whose processes cannot be queried."""
    kept = [make(tmp_path, f".{pid}-{place()}-0123abcd.tmp") for pid in (os.getpid(), os.getppid(), 1)]
    assert remove_abandoned(tmp_path) == 0
    assert sorted(names(tmp_path)) == sorted(path.name for path in kept)


def test_a_process_that_cannot_be_queried_exists(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    make(tmp_path, f".{os.getpid()}-{place()}-0123abcd.tmp")
    assert remove_abandoned(tmp_path) == 0


@pytest.mark.parametrize("where", ["-ffffffff", ""], ids=["another host", "an older version"])
def test_drafts_from_elsewhere_are_removed_after_a_day(tmp_path, where):
    name = f".{gone()}{where}-0123abcd.tmp"
    make(tmp_path, name)
    assert remove_abandoned(tmp_path) == 0
    make(tmp_path, name, old=True)
    assert remove_abandoned(tmp_path) == 1


def test_a_reused_process_number_keeps_a_draft_for_a_day(tmp_path):
    make(tmp_path, f".{os.getpid()}-{place()}-0123abcd.tmp", old=True)
    assert remove_abandoned(tmp_path) == 1


def test_nothing_else_is_removed(tmp_path):
    pid = gone()
    for name in (
        ".bashrc",
        f".{pid}.tmp",
        f".{pid}-0123.tmp",
        f"{pid}-{place()}-0123abcd.tmp",
        f".{pid}-{place()}-0123abcd.tmp.parquet",
        f".{'9' * 30}-{place()}-0123abcd.tmp",
    ):
        make(tmp_path, name, old=True)
    (tmp_path / f".{pid}-{place()}-00000000.tmp").mkdir()
    (tmp_path / f".{pid}-{place()}-00000001.tmp").symlink_to(make(tmp_path, "precious"))
    before = sorted(names(tmp_path))
    assert remove_abandoned(tmp_path) == 0
    assert sorted(names(tmp_path)) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_drafts_of_other_users_stay(tmp_path):
    os.chown(make(tmp_path, f".{gone()}-{place()}-0123abcd.tmp", old=True), 12345, -1)
    assert remove_abandoned(tmp_path) == 0


def test_a_missing_folder_has_no_drafts(tmp_path):
    assert remove_abandoned(tmp_path / "none") == 0


def test_a_resumed_job_removes_them_in_subfolders_too(work, tmp_path):
    for folder in ("in", "in/sub", "out", "out/sub", "out/other"):
        (tmp_path / folder).mkdir()
    for folder in ("in", "in/sub"):
        pq.write_table(make_table(), tmp_path / folder / "part.parquet")
    name = f".{gone()}-{place()}-0123abcd.tmp"
    for folder in ("in", "out", "out/sub", "out/other"):
        make(tmp_path / folder, name)
    options = ["predict", work / "classifier", tmp_path / "in", "-o", tmp_path / "out"]
    text = succeed(*options, "--resume").decode()
    assert text == "100 rows in 2 files written; 2 drafts of killed runs removed\n"
    assert names(tmp_path / "out" / "sub") == ["part.parquet"]
    assert names(tmp_path / "out" / "other") == [name]  # no output of this job is there
    assert sorted(names(tmp_path / "in")) == [name, "part.parquet", "sub"]
