"""The script for the first run on a GPU: stages end in time, failures stop nothing, and what comes back is bounded."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "on_gpu"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import runner

    return runner


def python(code):
    return [sys.executable, "-c", code]


ANSWERS, SILENT = python("pass"), python("import sys; sys.exit(1)")


def test_a_failure_and_a_hang_do_not_stop_the_others(script, tmp_path):
    stages = script.Runner(tmp_path / "log.txt", 60, ANSWERS)
    stages.run("fails", python("print('the reason: none'); raise SystemExit(3)"), 20, "reason")
    # The child of a stage that hangs holds its output open, and ends with it.
    child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    begun = time.monotonic()
    stages.run("hangs", python(child + "print('here', flush=True); time.sleep(60)"), 2, "here")
    assert time.monotonic() - begun < 30
    stages.run("passes", python("print(1)"), 20, ".")
    rows = stages.table().split("\n")[1:]
    assert [row.split()[0] for row in rows] == ["fails", "hangs", "passes"]
    assert "exit 3" in rows[0]
    assert rows[0].endswith("the reason: none")
    assert "timed out" in rows[1]
    assert rows[1].endswith("here")
    assert "exit 0" in rows[2]
    assert stages.failed
    assert stages.answers
    assert "===== hangs: timed out" in (tmp_path / "log.txt").read_text()


def test_a_gpu_that_does_not_answer_is_noticed_after_a_hang(script, tmp_path):
    stages = script.Runner(tmp_path / "log.txt", 60, SILENT)
    stages.run("fails", SILENT, 20, ".")
    assert stages.answers
    stages.run("hangs", python("import time; time.sleep(60)"), 1, ".")
    assert not stages.answers
    assert stages.table().endswith("THE GPU DOES NOT ANSWER after hangs")


def test_no_stage_begins_without_time(script, tmp_path):
    stages = script.Runner(tmp_path / "log.txt", 0, ANSWERS)
    stages.run("late", python("print(1)"), 20, ".")
    assert stages.table().split("\n")[1:] == ["late         not run: no time left"]
    assert not stages.failed


def run(*arguments):
    command = [sys.executable, SCRIPTS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ})


def test_an_emulated_run_has_a_row_for_each_stage_and_few_files(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("an older file")
    (tmp_path / "large").write_bytes(bytes(17 * 2**20))
    done = run("--out", tmp_path, "--emulated", "environment", "inference")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.rstrip().split("\n")[-2:]
    assert rows[0].startswith("environment  exit 0")
    assert "Chip(capability=90" in rows[0]
    assert rows[1] == "inference    not run: needs a GPU"
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 8
    assert "log.txt" in names
    assert "large" not in names


def test_an_unknown_stage_is_refused(tmp_path):
    done = run("--out", tmp_path, "smoke", "speed")
    assert done.returncode == 2
    assert "STAGE: expected some of environment, smoke" in done.stderr
    assert done.stderr.rstrip().endswith("got speed")
