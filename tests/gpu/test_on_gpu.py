"""The script for the first run on a GPU: stages end in time, failures stop nothing, and what comes back is bounded."""

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cuda_emulator
from cuda_emulator import nvrtc

SCRIPTS = Path(__file__).parents[2] / "scripts" / "on_gpu"

emulator = pytest.mark.skipif(cuda_emulator.missing() is not None, reason="kernels cannot be compiled here")
compiler = pytest.mark.skipif(nvrtc.missing() is not None, reason="no NVRTC")


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def script(scripts):
    import runner

    return runner


@pytest.fixture
def probe(scripts):
    import probe

    return probe


def python(code):
    return [sys.executable, "-c", code]


def always(code):
    return lambda _: python(code)


ANSWERS, SILENT = python("pass"), python("import sys; sys.exit(1)")


def test_a_failure_and_a_hang_do_not_stop_the_others(script, tmp_path):
    stages = script.Runner(tmp_path / "log.txt", 60, ANSWERS)
    stages.run("fails", always("print('the reason: none'); raise SystemExit(3)"), 20, "reason")
    # The child of a stage that hangs holds its output open, and ends with it.
    child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    begun = time.monotonic()
    stages.run("hangs", always(child + "print('here', flush=True); time.sleep(60)"), 2, "here")
    assert time.monotonic() - begun < 30
    stages.run("passes", always("print(1)"), 20, ".")
    rows = stages.table().split("\n")[1:]
    assert [row.split()[0] for row in rows] == ["fails", "hangs", "passes"]
    assert "exit 3" in rows[0]
    assert rows[0].endswith("the reason: none")
    assert "timed out" in rows[1]
    assert rows[1].endswith("here")
    assert "exit 0" in rows[2]
    assert stages.failed == {"fails", "hangs"}
    assert stages.answers
    assert "===== hangs: timed out" in (tmp_path / "log.txt").read_text()


@pytest.mark.filterwarnings("ignore:subprocess .* is still running")
def test_a_process_that_does_not_end_is_left_alone(script, tmp_path, monkeypatch):
    """As one whose work the driver does not end."""
    killed, kill = [], os.killpg
    monkeypatch.setattr(script.os, "killpg", lambda *group: killed.append(group))
    monkeypatch.setattr(script, "_ENDING", 0.5)
    stages = script.Runner(tmp_path / "log.txt", 60, ANSWERS)
    begun = time.monotonic()
    stages.run("hangs", always("import time; print('here', flush=True); time.sleep(60)"), 2, "here")
    assert time.monotonic() - begun < 20
    assert stages.table().endswith("here")
    assert stages.failed == {"hangs"}
    assert stages.answers
    kill(*killed[0])


def test_what_a_stage_leaves_behind_ends_with_it(script, tmp_path):
    stages = script.Runner(tmp_path / "log.txt", 60, ANSWERS)
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    stages.run("passes", always(f"import subprocess, sys; print({child}.pid)"), 20, ".")
    assert stages.failed == set()
    pid = stages.table().split()[-1]
    state = Path("/proc", pid, "stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "import time; time.sleep(60)"])
def test_a_gpu_that_does_not_answer_is_noticed_after_a_failure(script, tmp_path, code):
    stages = script.Runner(tmp_path / "log.txt", 60, SILENT)
    stages.run("passes", lambda _: ANSWERS, 20, ".")
    assert stages.answers
    stages.run("fails", always(code), 1, ".")
    assert not stages.answers
    assert stages.table().endswith("THE GPU DOES NOT ANSWER after fails")


def test_the_end_of_what_failed_is_printed(script, tmp_path, capsys):
    stages = script.Runner(tmp_path / "log.txt", 60, ANSWERS)
    stages.run("passes", always("print('all is well')"), 20, "none")
    stages.run("fails", always("print('x' * 5000, 'the reason'); raise SystemExit(1)"), 20, "none")
    stages.run("is missing", lambda _: [str(tmp_path / "ncu")], 20, "Error")
    printed = capsys.readouterr().out
    assert "all is well" not in printed
    assert "x the reason" in printed
    assert len(printed) < 2000
    assert "exit 127" in printed
    assert "FileNotFoundError" in printed.splitlines()[-1]
    assert stages.failed == {"fails", "is missing"}


def test_no_stage_begins_without_time(script, tmp_path):
    stages = script.Runner(tmp_path / "log.txt", 0, ANSWERS)
    stages.run("late", always("print(1)"), 20, ".")
    assert stages.table().split("\n")[1:] == ["late         not run: no time left"]
    assert not stages.failed


def test_time_is_kept_for_a_later_stage(script, tmp_path):
    stages, limits = script.Runner(tmp_path / "log.txt", 40, ANSWERS), []
    command = lambda limit: limits.append(limit) or ANSWERS  # noqa: E731
    stages.run("first", command, 60, ".", kept=15)
    stages.run("second", command, 60, ".", kept=35)
    stages.run("last", command, 60, ".")
    assert "second       not run: no time left" in stages.table()
    assert 20 < limits[0] <= 25
    assert 30 < limits[1] <= 40


def test_the_usual_stages_fit_into_the_budget(scripts):
    """What they are expected to take does; the most telling come first."""
    from stages import LAST, STAGES

    usual = [name for name, stage in STAGES.items() if stage.usual]
    assert sum(STAGES[name].expected for name in usual) <= 500
    assert usual[-1] == LAST
    assert all(stage.expected < stage.seconds for stage in STAGES.values())
    first = ["environment", "smoke", "probe", "tests", "memcheck"]
    assert usual[: len(first)] == first
    assert "profile" not in usual
    assert sum(STAGES[name].expected for name in ("environment", "smoke", "inference")) <= 140


def test_commands_have_the_time_that_is_left(scripts, tmp_path):
    from stages import STAGES, Places

    places = Places(tmp_path, tmp_path, False, "float32 16 1024 PACKETS backward")
    for seconds in (110, 40):
        for name in ("inference", "tune", "training", "estimators"):
            command = STAGES[name].command(places, seconds)
            given = float(command[command.index("--seconds") + 1])
            assert 0 < given <= seconds - 15
        for name in ("tests", "again"):
            command = STAGES[name].command(places, seconds)
            given = dict(option.split("=") for option in command if option.startswith(("END_OF_TESTS", "--timeout=")))
            assert 0 < float(given["END_OF_TESTS"]) - time.time() <= seconds - 15
            assert 0 < float(given["--timeout"]) < seconds - 15
    command = STAGES["profile"].command(places, 60)
    assert command[-5:] == ["float32", "16", "1024", "PACKETS", "backward"]
    assert command[command.index("--clock-control") + 1] == "none"


def test_what_is_on_the_path_stays_there(scripts, tmp_path, monkeypatch):
    from stages import Places

    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = Places(tmp_path, tmp_path, False, "").environment()["PYTHONPATH"].split(os.pathsep)
    assert found[-1] == "/somewhere"
    assert all(Path(path).is_dir() for path in found[:-1])


def run(*arguments):
    command = [sys.executable, SCRIPTS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ})


@emulator
def test_an_emulated_run_has_a_row_for_each_stage_and_few_files(tmp_path):
    pytest.importorskip("pyarrow")
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("an older file")
    (tmp_path / "large").write_bytes(bytes(17 * 2**20))
    (tmp_path / "inference").mkdir()
    for name in ("gpu.json", "gpu.png"):
        (tmp_path / "inference" / name).write_text("{}")
    done = run("--out", tmp_path, "--emulated", "environment", "estimators", "again", "inference", "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.rstrip().split("\n")[-5:]
    assert rows[0].startswith("environment  exit 0")
    assert "Chip(capability=90" in rows[0]
    assert rows[1].startswith("estimators   exit 0")
    assert "estimators: 0 of" in rows[1]
    assert rows[2:] == [f"{name:12} not run: needs a GPU" for name in ("again", "inference", "cache")]
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(names) == 8
    assert {"log.txt", "estimators.json", "inference/gpu.json"} <= names
    assert not names & {"large", "inference/gpu.png"}
    assert all(re.fullmatch(r"([\w.-]+/){0,2}[\w.-]+", name, re.ASCII) for name in names)
    found = json.loads((tmp_path / "estimators.json").read_text())
    assert {"vowels, accuracy", "adding problem, R^2", "predict"} <= found.keys()
    assert found["predict"]["difference"] < 1e-5


@pytest.mark.parametrize("first", [True, False])
def test_what_cannot_succeed_is_not_begun(scripts, tmp_path, monkeypatch, capsys, first):
    """Without rgru or a GPU, or once the GPU does not answer; what was compiled is kept all the same."""
    import stages

    main = runpy.run_path(str(SCRIPTS / "__main__.py"))["main"]
    done = lambda command: stages.Stage(20, 10, lambda _, __: command, ".")  # noqa: E731
    some = {stages.FIRST: done(SILENT if first else ANSWERS), "smoke": done(SILENT), "probe": done(ANSWERS)}
    monkeypatch.setitem(main.__globals__, "STAGES", some | {stages.LAST: done(ANSWERS)})
    monkeypatch.setattr(stages.Places, "alive", lambda _: ANSWERS if first else SILENT)
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.setattr(sys, "argv", ["on_gpu", "--out", str(tmp_path)])
    assert main() == 1
    rows = capsys.readouterr().out.rstrip().split("\n")
    assert rows[-2] == f"probe        not run: {'environment has failed' if first else 'the GPU does not answer'}"
    assert rows[-1].startswith("cache        exit 0")


def test_a_cache_that_is_lost_ends_nothing(tmp_path):
    whole = tmp_path / "whole.tar.xz"
    subprocess.run([sys.executable, SCRIPTS / "archive.py", whole, SCRIPTS], check=True)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "other").write_text("no archive")
    for name in ("cut", "other", "missing"):
        done = run("--out", tmp_path / "out", "--emulated", "--cache", tmp_path / name, "probe")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("--cache: ")
        assert done.stdout.rstrip().endswith("probe        not run: needs a GPU")


def test_an_unknown_stage_is_refused(tmp_path):
    done = run("--out", tmp_path, "smoke", "speed")
    assert done.returncode == 2
    assert "STAGE: expected some of environment, smoke" in done.stderr
    assert done.stderr.rstrip().endswith("got speed")


def test_what_is_compiled_comes_back(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernel.cubin").write_bytes(b"code")
    archive, there = tmp_path / "cache.tar.xz", tmp_path / "there"
    subprocess.run([sys.executable, SCRIPTS / "archive.py", archive, tmp_path / "cache"], check=True)
    import tarfile

    with tarfile.open(archive) as found:
        found.extractall(there, filter="data")
    assert (there / "kernel.cubin").read_bytes() == b"code"


def test_a_form_that_does_not_end_hides_no_other(scripts, monkeypatch):
    import smoke

    printed = io.StringIO()

    def limited(form):
        if form != "BLOCK":
            return 0, f"{form}: fine\n"
        deadline = time.monotonic() + 10
        while "STEPS: fine" not in printed.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        return None, f"after {printed.getvalue()!r}\n"

    monkeypatch.setattr(smoke, "limited", limited)
    with contextlib.redirect_stdout(printed):
        assert smoke.main() == 1
    assert "after" in printed.getvalue()
    for form in ("CLUSTER", "GRID", "PACKETS", "STEPS"):
        assert f"{form}: fine" in printed.getvalue().partition("after")[0]
    assert "smoke: FAILED: BLOCK timed out, " in printed.getvalue().splitlines()[-1]


# -- the tests on the GPU ----------------------------------------------------------------------------------------------

CUPY = """
from types import SimpleNamespace

class CUDARuntimeError(RuntimeError): pass

broken = False

class Device:
    def synchronize(self):
        if broken:
            raise CUDARuntimeError

cuda = SimpleNamespace(Device=Device, runtime=SimpleNamespace(CUDARuntimeError=CUDARuntimeError))
"""

TESTS = """
import cupy

def test_before(): assert not cupy.broken

def test_breaks():
    cupy.broken = True
    raise ValueError("launch failure")

def test_after(): assert not cupy.broken

def test_last(): assert not cupy.broken
"""


def run_tests(folder, text, *options, **environment):
    """Run tests with the plugin, on a GPU that never fails by itself."""
    (folder / "cupy.py").write_text(CUPY)
    (folder / "test_it.py").write_text(text)
    paths = os.pathsep.join(map(str, [folder, SCRIPTS, *sys.path]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "gpu_tests", *options, "test_it.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


SLOW_TESTS = """
import os, time, pytest

@pytest.mark.parametrize("i", range(300))
def test_it(i):
    time.sleep(0.1)
    if i == 5:
        os._exit(1)
    assert i != 2
"""


def test_tests_whose_time_is_up_report_what_they_have_found(tmp_path):
    """Also those of a worker that has taken the place of another one; and what has failed is printed at once."""
    begun = time.time()
    done = run_tests(tmp_path, SLOW_TESTS, "-n", "2", "--dist=worksteal", END_OF_TESTS=f"{begun + 4}")
    assert time.time() - begun < 15
    ended = done.stdout.index("=== FAILURES")
    assert "test_it.py::test_it[2]:" in done.stdout[:ended]
    assert "assert 2 != 2" in done.stdout[:ended]
    assert "worker 'gw" in done.stdout[:ended]
    assert "FAILED test_it.py::test_it[2]" in done.stdout[ended:]
    assert "the time was up" in done.stdout[ended:]


def test_a_test_that_breaks_the_gpu_fails_no_other_one(tmp_path):
    done = run_tests(tmp_path, TESTS, "-n", "1")
    failed = set(re.findall(r"FAILED test_it.py::(\w+)", done.stdout))
    assert failed == {"test_breaks"}, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert "launch failure" in done.stdout


# -- the probe ---------------------------------------------------------------------------------------------------------


def macros(case):
    return dict(option.removeprefix("-D").split("=") for option in case.options)


@compiler
def test_every_case_of_the_probe_compiles(probe):
    """For the chip that it is meant for, without spills: a mistake in it would cost time on the GPU."""
    text = probe.source()
    for options in dict.fromkeys(case.options for case in (*probe.CASES, probe.CLOCK, probe.STEP)):
        found = dict(option.removeprefix("-D").split("=") for option in options)
        done, log = nvrtc.machine_code(text, found, 90)
        assert done, f"{options}: {log}"
        assert "warning" not in log, f"{options}: {log}"
        assert "0 bytes spill stores, 0 bytes spill loads" in log, f"{options}: {log}"


def emulated(probe, case, text):
    """Run five turns in the emulator, which knows no clocks and no traps; return what was stored, and what is wrong."""
    ptx = nvrtc.ptx(text, macros(case), 90).replace("trap;", "")
    module = cuda_emulator.compile_ptx(re.sub(r"(mov\.u64\s+%\w+), %clock64;", r"\1, 0;", ptx))
    clustered = case.kind in ("CLUSTER", "ASYNC")
    grid = 2 * case.blocks if clustered else case.blocks
    memory, written = np.zeros(2 * 2 * 300 * 16, np.uint8), np.full((5, grid * 256), -1, np.float32)
    result = np.zeros(grid + 1, np.uint64)
    arguments = [memory, written, result, np.int32(5)]
    cluster = case.blocks if clustered else 1
    module.launch(*("probe", grid, 256, arguments), cluster=cluster, shared_bytes=probe.SHARED_BYTES, seed=case.blocks)
    return written, int(result[-1])


@emulator
@compiler
def test_exchanges_of_the_probe_arrive(probe):
    text = probe.source()
    more_than_threads = probe.packets(2, 300)
    cases = [
        probe.Case("COUNTER", "counter", 3, 1),
        probe.clusters(2)[4],
        *probe.clusters(4)[6:],
        probe.packets(3, 7)[1],
        more_than_threads[5],
    ]
    for case in cases:
        written, wrong = emulated(probe, case, text)
        assert (written == np.arange(5)[:, None]).all(), case
        assert wrong == 0, case
    torn = text.replace("~phase, phase, phase)", "~phase, phase - 2, phase)")
    assert torn != text
    assert emulated(probe, probe.packets(1, 1)[0], torn)[1] == 5


def test_the_probe_knows_a_torn_packet_and_proposes_constants(probe, monkeypatch, tmp_path, capsys):
    class Probe:
        torn = 0

        def megahertz(self):
            return 2000.0

        def graph(self):
            return 1.5

        def kernel(self, case):
            return None

        def run(self, case, _kernel):
            return 100.0 * (1 + probe.KINDS.index(case.kind)), self.torn

    monkeypatch.setattr(probe, "Probe", Probe)
    assert probe.main(tmp_path) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("for cost_model, cycles: BLOCK 100 (is ")
    for part in ("CLUSTER by barrier 200", "CLUSTER by st.async 300", "GRID 500", "_LAUNCH 3000"):
        assert part in last
    found = json.loads((tmp_path / "probe.json").read_text())
    # 64 * 48 packets at 64 KB in 600 cycles
    assert found["constants"]["PACKETS together"] == pytest.approx(400 - 16 * 64 * 48 * 600 / 2**16)
    assert len(found["rows"]) == len(probe.CASES)
    monkeypatch.setattr(Probe, "torn", 1)
    assert probe.main(tmp_path) == 1
    assert "WRONG: 1" in capsys.readouterr().out

    def graph(_):
        raise RuntimeError("no capture")

    monkeypatch.setattr(Probe, "torn", 0)
    monkeypatch.setattr(Probe, "graph", graph)
    assert probe.main(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "graph: RuntimeError: no capture" in printed
    assert "GRID 500" in printed
    assert len(json.loads((tmp_path / "probe.json").read_text())["rows"]) == len(probe.CASES)
