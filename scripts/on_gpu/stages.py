"""The stages, the most telling first."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes, and what it is asked for."""

    out: Path
    scratch: Path
    emulated: bool
    cell: str

    @property
    def cupy_cache(self) -> Path:
        """CuPy's compiled kernels."""
        return self.scratch / "cupy-cache"

    def environment(self) -> dict[str, str]:
        """Return what the stages find in their environment."""
        paths = [*map(str, (ROOT / "benches", ROOT / "tests/support", ROOT / "tests/gpu/support"))]
        paths += [str(ROOT / "cuda_emulator/src"), str(HERE), os.environ.get("PYTHONPATH", "")]
        if any(path.suffix != ".pyi" for path in (ROOT / "python/rgru").glob("_core.*")):
            paths.insert(0, str(ROOT / "python"))  # else an installed rgru is used
        return {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONUNBUFFERED": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # whatever is installed there; `_tests` names what it needs
            "CUPY_CACHE_DIR": str(self.cupy_cache),
            "MPLCONFIGDIR": str(self.scratch / "matplotlib"),
        }

    def alive(self) -> list[str]:
        """Return the command that finds out whether the GPU answers."""
        return [sys.executable, "-c", "pass"] if self.emulated else _script(self, "alive.py")


@dataclass(frozen=True)
class Stage:
    """A command with its limit, and the lines of its output that tell most.

    Attributes
    ----------
    seconds : float
        The limit.
    expected : float
        What it should take.
    command : callable
        ``command(places, seconds)`` gets the limit that is left.
    telling : str
        A regular expression.
    emulated : bool
        Whether an emulator can run it.
    usual : bool
        Whether it runs unless others are asked for.
    if_failed : str
        Another stage; this one runs only if that has failed.
    """

    seconds: float
    expected: float
    command: Callable[[Places, float], list[str]]
    telling: str
    emulated: bool = False
    usual: bool = True
    if_failed: str = ""


_MOST_RESTARTS = 200
"""Of pytest's workers: a kind of kernel that fails takes its worker with it in each of its tests."""


def _script(places: Places, name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / name), *arguments, *(["--emulated"] if places.emulated else [])]


def _tests(places: Places, seconds: float, *options: str) -> list[str]:
    """Return the tests' command. They end in time for pytest's report, which tells what to run again."""
    files = [
        str(ROOT / "tests/gpu" / name) for name in ("test_against_cpu.py", "test_running.py", "test_torch_modules.py")
    ]
    common = ["-q", "--no-header", "--tb=short", "-W", "default", "-m", "gpu", f"--rootdir={ROOT}"]
    plugins = ["-p", "xdist", "-p", "timeout", "-p", "gpu_tests", f"--max-worker-restart={_MOST_RESTARTS}"]
    limits = [f"--timeout={seconds / 2:.0f}", "--timeout-method=thread"]
    cache = ["-o", f"cache_dir={places.scratch / 'pytest'}"]
    # One thread on the CPU, for rgru and PyTorch: teams of many processes hold each other up.
    environment = ["env", "OMP_NUM_THREADS=1", f"END_OF_TESTS={time.time() + seconds - 20:.0f}"]
    return [*environment, sys.executable, "-m", "pytest", *common, *plugins, *limits, *cache, *options, *files]


def _bench(places: Places, section: str, seconds: float, *options: str) -> list[str]:
    within = max(5.0, seconds - 25)  # libraries are loaded before, and what has begun ends after
    out = ["--out", str(places.out / section)]
    return [sys.executable, str(ROOT / "benches/gpu"), "--only", section, "--seconds", f"{within:.0f}", *out, *options]


def _sanitizer(tool: str) -> list[str]:
    return [sys.executable, "-m", "gpu.checks", tool]


def _estimators(places: Places, seconds: float) -> list[str]:
    within = max(5.0, seconds - 20)  # as above
    return _script(places, "estimators.py", "--out", str(places.out), "--seconds", f"{within:.0f}")


def _archive(places: Places) -> list[str]:
    return [sys.executable, str(HERE / "archive.py"), str(places.out / "cupy-cache.tar.xz"), str(places.cupy_cache)]


def _profile(places: Places) -> list[str]:
    program = shutil.which("ncu") or "/usr/local/cuda/bin/ncu"
    sections = [f"--section={name}" for name in ("SpeedOfLight", "WarpStateStats", "MemoryWorkloadAnalysis")]
    these = ["--clock-control", "none", "--profile-from-start", "off", "--launch-count", "8"]
    return [program, *these, *sections, "--print-details", "all", sys.executable, "-m", "gpu.one", *places.cell.split()]


STAGES = {
    "environment": Stage(60, 20, lambda p, _: _script(p, "environment.py"), "chip|Error", emulated=True),
    "smoke": Stage(80, 30, lambda p, _: _script(p, "smoke.py"), "^smoke|at most|Error", emulated=True),
    "probe": Stage(45, 15, lambda p, _: _script(p, "probe.py", str(p.out)), "^for cost_model|Error"),
    "tests": Stage(110, 80, lambda p, s: _tests(p, s, "-n", "11"), "passed|failed|error"),
    "memcheck": Stage(60, 40, lambda _, __: _sanitizer("memcheck"), "ERROR SUMMARY|Error"),
    "again": Stage(  # without others beside them
        *(45, 10, lambda p, s: _tests(p, s, "-n", "1", "--maxfail=12", "--lf", "--lfnf=none"), "passed|failed|error"),
        if_failed="tests",
    ),
    "inference": Stage(110, 90, lambda p, s: _bench(p, "inference", s), "geometric|Error"),
    "tune": Stage(70, 55, lambda p, s: _bench(p, "tune", s, "--quick"), "^tuned|Error"),
    "host": Stage(30, 12, lambda p, _: _script(p, "host.py"), "^host|Error"),
    "training": Stage(70, 50, lambda p, s: _bench(p, "training", s), "geometric|Error"),
    "estimators": Stage(70, 45, _estimators, "^estimators|Error", emulated=True),
    "racecheck": Stage(45, 40, lambda _, __: _sanitizer("racecheck"), "RACECHECK SUMMARY|Error"),
    "profile": Stage(60, 30, lambda p, _: _profile(p), "Throughput|rror", usual=False),
    "cache": Stage(20, 8, lambda p, _: _archive(p), "."),
}
FIRST = "environment"
"""Fails where there is no rgru or no GPU: no other stage would tell more."""
LAST = "cache"
"""Needs no GPU, and has its expected time, however long the others take: a later run need not compile again."""
