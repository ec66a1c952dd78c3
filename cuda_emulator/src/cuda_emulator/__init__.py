"""An emulator of CUDA on the CPU, for tests: kernels are compiled by g++, and every thread is a fiber.

    module = cuda_emulator.compile(Path("kernels.cu"), {"REAL": "float"})
    module.launch("scale", grid=4, block=128, args=[x, np.int32(x.size)], shared_bytes=512, seed=7)

The order in which threads run is shuffled from the seed. Faults that show only sometimes on a GPU (a barrier that not
all threads reach, a write beyond the shared memory) always raise an error here. Arrays have no guards: a write beyond
an array is noticed only in PTX. A loop that waits without `load_acquire` never ends.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cuda_emulator.ptx import translate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DeadlockError",
    "DivergenceError",
    "EmulatorError",
    "Module",
    "OutOfBoundsError",
    "RaceError",
    "compile",
    "compile_ptx",
    "missing",
]

HEADERS = Path(__file__).parent
# Compiling takes longer than running: -O2 would take half as long again.
FLAGS = ["-std=c++17", "-Og", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing"]
SHARED_LIMIT = 227 * 1024  # the maximum of a block on any GPU so far
SCALARS = (np.int32, np.int64, np.uint32, np.uint64, np.float32, np.float64)
# The fibers of a library are global variables of it.
LOCK = threading.Lock()


class EmulatorError(RuntimeError):
    """A kernel did something invalid."""


class DeadlockError(EmulatorError):
    """All living threads wait, and none can continue."""


class DivergenceError(DeadlockError):
    """Threads of one block wait for each other at different barriers, or for threads that have ended."""


class OutOfBoundsError(EmulatorError):
    """A kernel used memory beyond its shared memory, its stack or, in PTX, its arrays."""


class RaceError(EmulatorError):
    """Two threads accessed the same memory, and no barrier orders the accesses."""


ERRORS = {1: DeadlockError, 2: DivergenceError, 3: OutOfBoundsError, 4: EmulatorError, 5: RaceError}


def missing() -> str | None:
    """Return why kernels cannot be compiled on this machine, or None."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "kernels are compiled on Linux, on x86-64 and AArch64"
    return None if shutil.which("g++") else "kernels are compiled by g++, which is not installed"


def compile(source: Path | str, defines: dict[str, object] | None = None) -> Module:  # noqa: A001
    """Compile a CUDA source.

    Parameters
    ----------
    source : Path or str
        A path, or the text itself: a string with a line break.
    defines : dict, optional
        Macros; one of None has no value.

    Returns
    -------
    Module
        Compiled libraries are cached in a folder of temporary files, for all processes of the user.

    Raises
    ------
    EmulatorError
        With the messages of g++.
    """
    if isinstance(source, str) and "\n" in source:
        text, name = source, "<text>"
    else:
        text, name = Path(source).read_text(encoding="utf-8"), str(source)
    flags = [f"-D{key}" if value is None else f"-D{key}={_define(value)}" for key, value in (defines or {}).items()]
    return _module(text, name, flags)


def compile_ptx(text: str) -> Module:
    """Compile PTX, the output of a CUDA compiler.

    Its kernels are checked more closely: every access to memory must be aligned, within the arrays of the launch or its
    shared memory, and ordered by barriers with accesses of other threads to the same bytes.

    Parameters
    ----------
    text : str

    Returns
    -------
    Module
        The arrays of a launch must be disjoint or identical.
    """
    return _module(translate(text), "<ptx>", [])


def _module(text: str, name: str, flags: list[str]) -> Module:
    key = _key(flags, name, text)
    library = _folder() / f"{key}.so"
    if not library.exists():
        headers = [f"-I{_precompiled()}", f"-I{HEADERS}", "-include", "emulator.h"]
        _build([*flags, *headers, "-x", "c++", "-"], library, f'#line 1 "{name}"\n{text}')
    return Module(library, text)


@functools.cache
def _precompiled() -> Path:
    """Compile the header by itself, which takes longer than most kernels; return the folder to search for it.

    g++ passes over it where macros are switches of the emulator.
    """
    folder = _folder() / _key()
    folder.mkdir(exist_ok=True)
    compiled = folder / "emulator.h.gch"
    if not compiled.exists():
        _build(["-x", "c++-header", str(HEADERS / "emulator.h")], compiled)
    return folder


def _key(*inputs: object) -> str:
    headers = [header.read_bytes() for header in sorted(HEADERS.glob("*.h"))]
    return hashlib.sha256(repr([_version(), FLAGS, *inputs, headers]).encode()).hexdigest()[:32]


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"cuda-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def _build(arguments: list[str], output: Path, text: str = "") -> None:
    """Build under a unique name, then rename, so that other processes see a complete file or none."""
    unfinished = output.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
    command = ["g++", *FLAGS, *arguments, "-o", str(unfinished)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise EmulatorError(f"g++ failed:\n{done.stderr}")
    unfinished.replace(output)


@functools.cache
def _version() -> str:
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout


def _define(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


class Module:
    """The kernels of one compiled source."""

    def __init__(self, library: Path, text: str) -> None:
        self._library = ctypes.CDLL(str(library))
        self._watched = hasattr(self._library, "cuda_emulator_arrays")
        self._text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)

    def launch(
        self,
        name: str,
        grid: int,
        block: int,
        args: Sequence[np.ndarray | np.generic | None],
        *,
        shared_bytes: int = 0,
        cluster: int = 1,
        seed: int = 0,
    ) -> None:
        """Run a kernel to its end.

        Parameters
        ----------
        name : str
        grid, block, cluster : int
            Blocks of the grid, threads of a block, blocks of a cluster.
        args : sequence
            Arrays are passed as pointers, None as a null pointer, NumPy scalars (int32, int64, uint32, uint64, float32,
            float64) by value. The kernel writes to the arrays themselves.
        shared_bytes : int
            Dynamic shared memory of a block.
        seed : int
            Determines the order in which the threads run.

        Raises
        ------
        EmulatorError
            If the kernel does something invalid.
        """
        if not (grid > 0 and 0 < block <= 1024 and 0 < cluster <= 16 and grid % cluster == 0):
            raise ValueError(f"grid {grid}, block {block}, cluster {cluster}: no such launch")
        if not 0 <= shared_bytes <= SHARED_LIMIT:
            raise ValueError(f"shared_bytes must be in 0 ... {SHARED_LIMIT}, not {shared_bytes}")
        kernel = ctypes.cast(self._library[name], ctypes.c_void_p)
        self._check(name, args)
        bits = np.zeros(max(len(args), 1), np.uint64)
        floats = np.zeros(max(len(args), 1), np.int32)
        for i, argument in enumerate(args):
            raw = _bytes(name, i, argument)
            bits[i : i + 1].view(np.uint8)[: len(raw)] = np.frombuffer(raw, np.uint8)
            floats[i] = isinstance(argument, np.floating)
        text = ctypes.create_string_buffer(4096)
        with LOCK:
            if self._watched:
                self._announce_arrays(args)
            outcome = self._library.cuda_emulator_launch(
                kernel,
                ctypes.c_uint(grid),
                ctypes.c_uint(block),
                ctypes.c_uint(cluster),
                ctypes.c_size_t(shared_bytes),
                ctypes.c_uint64(seed),
                ctypes.c_int(len(args)),
                bits.ctypes.data_as(ctypes.c_void_p),
                floats.ctypes.data_as(ctypes.c_void_p),
                text,
                ctypes.c_size_t(len(text)),
            )
            if self._watched:
                self._announce_arrays([])
        if outcome:
            raise ERRORS[outcome](f"{name}: {text.value.decode()}")

    def _announce_arrays(self, args: Sequence[np.ndarray | np.generic | None]) -> None:
        ranges = {i: (arg.ctypes.data, arg.nbytes) for i, arg in enumerate(args) if isinstance(arg, np.ndarray)}
        for (i, one), (j, other) in itertools.combinations(ranges.items(), 2):
            if one != other and one[0] < other[0] + other[1] and other[0] < one[0] + one[1]:
                raise ValueError(f"arguments {i} and {j} overlap in part")
        begins, sizes = np.array(list(ranges.values()), np.uint64).reshape(-1, 2).T
        begins, sizes = np.ascontiguousarray(begins), np.ascontiguousarray(sizes)
        pointers = (ctypes.c_void_p(begins.ctypes.data), ctypes.c_void_p(sizes.ctypes.data))
        self._library.cuda_emulator_arrays(*pointers, ctypes.c_int(len(ranges)))

    def _check(self, name: str, args: object) -> None:
        """Compare the arguments with the kernel's parameters, if the source shows these."""
        found = re.search(rf"__global__[^;{{}}]*?\b{name}\s*\(([^()]*)\)", self._text)
        if found is None:
            return
        parameters = [parameter.strip() for parameter in found[1].split(",") if parameter.strip()]
        if len(parameters) != len(args):
            raise TypeError(f"{name} takes {len(parameters)} arguments, not {len(args)}")
        for parameter, argument in zip(parameters, args, strict=True):
            if ("*" in parameter) == isinstance(argument, np.generic):
                raise TypeError(f"{name}: {parameter!r} cannot be {argument!r}")
            wanted = _scalar(parameter)
            if wanted is not None and not isinstance(argument, wanted):
                raise TypeError(f"{name}: {parameter!r} cannot be {type(argument).__name__}")


def _scalar(parameter: str) -> type | None:
    """Return the NumPy type of a parameter such as `const int n`; None for pointers and macros."""
    kinds = {"int": np.int32, "unsigned": np.uint32, "unsigned int": np.uint32, "float": np.float32}
    kinds |= {"double": np.float64, "long long": np.int64, "int64_t": np.int64, "long": np.int64}
    kinds |= {"unsigned long long": np.uint64}
    words = [word for word in re.findall(r"\w+|\*", parameter) if word != "const"]
    return kinds.get(" ".join(words[:-1]))


def _bytes(name: str, index: int, argument: object) -> bytes:
    if argument is None:
        return bytes(8)
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise ValueError(f"{name}: argument {index} is not contiguous")
        return int(argument.ctypes.data).to_bytes(8, "little")
    if isinstance(argument, SCALARS):
        return argument.tobytes()
    raise TypeError(f"{name}: argument {index} is a {type(argument).__name__}")
