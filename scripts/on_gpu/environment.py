"""Print the versions of what a run depends on, the clocks and the chip, and how long PyTorch takes to load."""

import cupy_here  # noqa: F401 - first

# isort: split

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version

import rgru
from rgru._cuda.availability import gpu_names
from rgru._cuda.device import open_device

PACKAGES = ("numpy", "torch", "cupy-cuda13x", "cuda-bindings", "ml_dtypes", "safetensors", "pyarrow", "pytest")
PACKAGES += ("pytest-xdist", "pytest-timeout", "nvidia-cuda-nvrtc", "nvidia-cublas", "nvidia-cudnn-cu13")
CLOCKS = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,ecc.mode.current,mig.mode.current"


def version_of(package: str) -> str:
    """Return the version of a package, or a dash."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def show(command: list[str], seconds: float) -> None:
    """Run a command that prints what is good to know."""
    try:
        subprocess.run(command, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error)


if __name__ == "__main__":
    print(platform.python_version(), platform.platform(), f"{os.cpu_count()} CPUs")
    print({package: version_of(package) for package in PACKAGES})
    print({tool: shutil.which(tool) for tool in ("compute-sanitizer", "ncu", "nvidia-smi")}, flush=True)
    show(["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv"], 10)
    print("rgru", rgru.__version__, gpu_names(), "chip", open_device(0).chip, flush=True)
    if "--emulated" not in sys.argv:
        begun = time.perf_counter()
        show([sys.executable, "-c", "import torch; torch.zeros(1, device='cuda')"], 30)
        # Its gigabytes are read from the disk only now: later stages, of which some load it many times, are faster.
        print(f"PyTorch is loaded, for the first time, in {time.perf_counter() - begun:.1f} s")
