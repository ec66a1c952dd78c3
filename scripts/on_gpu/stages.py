"""The stages, the most telling first."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes."""

    out: Path
    scratch: Path
    emulated: bool

    @property
    def cupy_cache(self) -> Path:
        """CuPy's compiled kernels."""
        return self.scratch / "cupy-cache"

    def environment(self) -> dict[str, str]:
        """Return what the stages find in their environment."""
        paths = ["benches", "tests/support", "tests/gpu/support", "cuda_emulator/src"]
        if any(
            path.suffix != ".pyi" for path in (ROOT / "python/rgru").glob("_core.*")
        ):  # else an installed rgru is used
            paths.insert(0, "python")
        return {
            "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in paths),
            "PYTHONUNBUFFERED": "1",
            "CUPY_CACHE_DIR": str(self.cupy_cache),
            "MPLCONFIGDIR": str(self.scratch / "matplotlib"),
        }

    def alive(self) -> list[str]:
        """Return the command that finds out whether the GPU answers."""
        return [sys.executable, "-c", "pass"] if self.emulated else _script(self, "alive.py")


@dataclass(frozen=True)
class Stage:
    """A command with its limit, and the lines of its output that tell most."""

    seconds: float
    command: Callable[[Places], list[str]]
    telling: str
    emulated: bool = False


def _script(places: Places, name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / name), *arguments, *(["--emulated"] if places.emulated else [])]


def _tests(places: Places, *options: str) -> list[str]:
    files = [
        str(ROOT / "tests/gpu" / name) for name in ("test_against_cpu.py", "test_running.py", "test_torch_modules.py")
    ]
    common = ["-q", "--no-header", "--tb=short", "-W", "default", "-m", "gpu", f"--rootdir={ROOT}"]
    cache = ["-o", f"cache_dir={places.scratch / 'pytest'}"]
    return [sys.executable, "-m", "pytest", *common, *cache, *options, *files]


def _bench(places: Places, section: str) -> list[str]:
    return [sys.executable, str(ROOT / "benches/gpu"), "--only", section, "--out", str(places.out / section)]


def _sanitizer(_: Places, tool: str) -> list[str]:
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    checks = [sys.executable, "-c", "from gpu.checks import run_every_form; run_every_form()"]
    return [program, "--tool", tool, "--error-exitcode", "9", *checks]


def _archive(places: Places) -> list[str]:
    return ["tar", "cJf", str(places.out / "cupy-cache.tar.xz"), "-C", str(places.cupy_cache), "."]


STAGES = {
    "environment": Stage(40, lambda p: _script(p, "environment.py"), "chip|Error", emulated=True),
    "smoke": Stage(80, lambda p: _script(p, "smoke.py"), "smoke|Error", emulated=True),
    "tests": Stage(120, lambda p: _tests(p, "-n", "11"), "passed|failed|error"),
    "memcheck": Stage(60, lambda p: _sanitizer(p, "memcheck"), "ERROR SUMMARY|Error"),
    "again": Stage(45, lambda p: _tests(p, "-n", "0", "--maxfail=12", "--lf", "--lfnf=none"), "passed|failed|error"),
    "inference": Stage(120, lambda p: _bench(p, "inference"), "geometric|Error"),
    "tune": Stage(75, lambda p: _bench(p, "tune"), "of the best|Error"),
    "host": Stage(30, lambda p: _script(p, "host.py"), "host|Error"),
    "training": Stage(75, lambda p: _bench(p, "training"), "geometric|Error"),
    "racecheck": Stage(45, lambda p: _sanitizer(p, "racecheck"), "RACECHECK SUMMARY|Error"),
    "cache": Stage(20, _archive, "."),
}
