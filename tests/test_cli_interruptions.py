"""The command line cut short: signals, readers that leave, full disks; and at terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from command_line import fail, make_table, names, start, stream, write_ipc

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")


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
@pytest.mark.parametrize("module", ["rgru.cli.machine", "rgru.estimators", "rgru.cli.predict"])
def test_signals_end_the_loading_of_commands_in_a_line(number, module):
    code = f"""
import os, sys
class Signalling:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Signalling())
from rgru.cli import main
sys.exit(main(["info"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    expected = {signal.SIGINT: (130, "rgru: interrupted\n"), signal.SIGTERM: (143, "rgru: terminated\n")}
    assert (seen_by_a_shell(done.returncode), done.stderr, done.stdout) == (*expected[number], "")


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
    expected = {signal.SIGINT: (130, b"rgru: interrupted\n"), signal.SIGTERM: (143, b"rgru: terminated\n")}
    assert (seen_by_a_shell(process.returncode), err) == expected[number]
    assert names(tmp_path) == [target]
    assert (tmp_path / target).read_text() == "old"


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_end_what_waits_for_its_reader(work, tmp_path, number):
    write_ipc(pa.concat_tables([make_table(2000)] * 20), tmp_path / "data.arrow", rows=2000)
    with start("predict", work / "classifier", tmp_path / "data.arrow", "-o", "-") as process:
        process.stdout.read(10)  # it has begun, and soon fills the pipe
        time.sleep(1)
        process.send_signal(number)
        assert seen_by_a_shell(process.wait(timeout=20)) == 128 + number
        assert process.stderr.read() in (b"rgru: interrupted\n", b"rgru: terminated\n")


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
