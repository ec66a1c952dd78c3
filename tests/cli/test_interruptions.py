"""Interruptions of the command line: signals, closed pipes, full disks; and its output on terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rgru
from command_line import fail, make_table, names, sequences, start, stream, write_ipc

pytestmark = pytest.mark.usefixtures("ctrl_c")
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")


def wait_for_draft(folder):
    deadline = time.monotonic() + 60
    while not list(folder.glob(".*.tmp")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


ENDS = {signal.SIGINT: (130, "rgru: interrupted\n"), signal.SIGTERM: (143, "rgru: terminated\n")}
"""The exit code and what is said."""


def run(code, *arguments):
    """Run Python code that prints nothing to stdout; return its exit code and stderr."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["rgru._cli.runtime_options", "rgru.estimators", "rgru._cli.predict"])
def test_signals_during_the_import_of_commands_end_with_one_line(number, module):
    code = f"""
import os, sys
class Signalling:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Signalling())
from rgru._cli import main
sys.exit(main(["info"]))
"""
    assert run(code) == ENDS[number]


@POSIX
def test_an_interrupted_exec_leaves_the_exit_code_alone(tmp_path):
    """`python -m` ends by SIGINT itself after a KeyboardInterrupt has left an `exec`, even if it is caught later."""
    code = """
import os, signal, sys
from rgru._cli import main, runtime_options
runtime_options.apply_options = lambda args: exec("os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass", globals())
sys.exit(main(["info", "model"]))
"""
    (tmp_path / "interrupted.py").write_text(code)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == ENDS[signal.SIGINT]


@POSIX
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("thread", ["job.open_table", "outputs.open_output"], ids=["reading", "writing"])
def test_a_second_signal_is_ignored(work, tmp_path, thread, first, second):
    code = f"""
import os, sys, time
from rgru._cli import job, main
from rgru._cli import writers as outputs
opens = {thread}
def opening(*arguments):
    if "2.parquet" in arguments[0]:
        for number in ({int(first)}, {int(second)}, {int(second)}):
            os.kill(os.getpid(), number)
            time.sleep(0.2)  # the command waits for this thread
    return opens(*arguments)
{thread} = opening
sys.exit(main(sys.argv[1:]))
"""
    (tmp_path / "in").mkdir()
    for i in range(4):
        pq.write_table(make_table(), tmp_path / "in" / f"{i}.parquet")
    out = tmp_path / "out"
    assert run(code, "predict", work / "classifier", tmp_path / "in", "-o", out) == ENDS[first]
    done = sorted(names(out))
    assert done == [f"{i}.parquet" for i in range(len(done))]


@POSIX
def test_an_ignored_ctrl_c_stays_ignored(work):
    """A background job of a shell script ignores it, for example."""
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from rgru._cli import main, runtime_options
runtime_options.apply_options = lambda args: os.kill(os.getpid(), signal.SIGINT)
sys.stdout = open(os.devnull, "w")
sys.exit(main(["info", *sys.argv[1:]]))
"""
    assert run(code, work / "classifier") == (0, "")


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
    assert (process.returncode, err.decode()) == ENDS[number]
    assert names(tmp_path) == [target]
    assert (tmp_path / target).read_text() == "old"


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_end_a_command_that_waits_for_its_reader(work, tmp_path, number):
    write_ipc(pa.concat_tables([make_table(2000)] * 20), tmp_path / "data.arrow", rows=2000)
    with start("predict", work / "classifier", tmp_path / "data.arrow", "-o", "-") as process:
        process.stdout.read(10)  # it has begun, and will soon fill the pipe
        time.sleep(1)
        process.send_signal(number)
        assert (process.wait(timeout=20), process.stderr.read().decode()) == ENDS[number]


LONG = ["--sequence", "values", "--target", "sign", "--max-epochs", 100000]
TEN_EPOCHS = [*LONG[:-1], 10]

AFTER_AN_EPOCH = """
import os, sys
from rgru.train import _loop as training
from rgru._cli import main
runs = training._run_epoch
def running(*arguments, epoch, **options):
    if epoch == 2:
        os.kill(os.getpid(), {0})
    return runs(*arguments, epoch=epoch, **options)
training._run_epoch = running
sys.exit(main(sys.argv[1:]))
"""


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_training_keeps_the_completed_epochs(work, tmp_path, number):
    (tmp_path / "model").write_text("old")
    options = ["fit", work / "data.parquet", "-o", tmp_path / "model", "--plot", tmp_path / "plot.png", *LONG]
    command = [sys.executable, "-c", AFTER_AN_EPOCH.format(int(number)), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    code, told = ENDS[number]
    kept = f"the model after 2 of 100000 epochs is in {tmp_path / 'model'}"
    assert done.stderr.endswith(f"{told.strip()}: {kept}\n")
    assert done.returncode == code
    assert "2 epochs at" in done.stdout
    model = rgru.load(tmp_path / "model")
    assert model.n_iter_ == 2
    assert model.get_params()["verbose"] is False
    assert len(model.predict(sequences(make_table()))) == 50
    assert sorted(names(tmp_path)) == ["model", "plot.png"]


@POSIX
def test_ctrl_c_after_the_training_keeps_the_model(work, tmp_path):
    code = """
import os, signal, sys
from rgru._cli import main, training
saves = training.save
def saving(*arguments, **options):
    training.save = saves
    os.kill(os.getpid(), signal.SIGINT)
training.save = saving
sys.exit(main(sys.argv[1:]))
"""
    options = ["--sequence", "values", "--target", "sign", "--max-epochs", 2]
    command = ["fit", work / "data.parquet", "-o", tmp_path / "model", *options]
    command = [sys.executable, "-c", code, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert rgru.load(tmp_path / "model").n_iter_ == 2


@POSIX
def test_a_closed_terminal_keeps_the_training(work, tmp_path):
    def heed():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even where the tests run under nohup

    with start("fit", work / "data.parquet", "-o", tmp_path / "model", *LONG, preexec_fn=heed) as process:
        assert b"epoch 1/" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 129
    assert rgru.load(tmp_path / "model").n_iter_ >= 1


@POSIX
def test_a_terminal_with_a_bar_may_be_closed(work, tmp_path):
    pytest.importorskip("tqdm")
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # without a size tqdm prints nothing

    def control():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    ends = {"stdin": slave, "stdout": slave, "stderr": slave, "preexec_fn": control}
    with start("fit", work / "data.parquet", "-o", tmp_path / "model", *LONG, **ends) as process:
        os.close(slave)
        shown = b""
        while b"epoch" not in shown or b"loss" not in shown:
            shown += os.read(master, 1000)
        os.close(master)  # the kernel sends SIGHUP
        assert process.wait(timeout=60) == 129
    assert rgru.load(tmp_path / "model").n_iter_ >= 1


@POSIX
def test_a_report_that_is_not_read_does_not_end_the_training(work, tmp_path):
    with start("fit", work / "data.parquet", "-o", tmp_path / "model", *TEN_EPOCHS) as process:
        process.stderr.readline()
        process.stderr.close()
        assert process.stdout.read().endswith(f"model: {tmp_path / 'model'}\n".encode())
        assert process.wait(timeout=60) == 0
    assert rgru.load(tmp_path / "model").n_iter_ == 10


@POSIX
def test_a_user_ends_a_training(work, tmp_path):
    with start("fit", work / "data.parquet", "-o", tmp_path / "model", *LONG) as process:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    epochs = rgru.load(tmp_path / "model").n_iter_
    assert f"{epochs} of 100000 epochs is in {tmp_path / 'model'}" in err.decode()
    assert names(tmp_path) == ["model"]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_before_the_first_epoch_is_done_leave_the_old_model(work, tmp_path, number):
    (tmp_path / "model").write_text("old")
    code = AFTER_AN_EPOCH.format(int(number)).replace("epoch == 2", "True")
    assert run(code, "fit", work / "data.parquet", "-o", tmp_path / "model", *LONG) == ENDS[number]
    assert (tmp_path / "model").read_text() == "old"
    assert names(tmp_path) == ["model"]


@POSIX
def test_a_closed_pipe_is_no_error(work, tmp_path):
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
