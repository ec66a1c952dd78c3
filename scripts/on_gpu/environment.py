"""Print the versions of what a run depends on, the clocks and the chip."""

import cupy_here  # noqa: F401 - first

# isort: split

import os
import platform
import shutil
import subprocess
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


if __name__ == "__main__":
    print(platform.python_version(), platform.platform(), f"{os.cpu_count()} CPUs")
    print({package: version_of(package) for package in PACKAGES})
    print({tool: shutil.which(tool) for tool in ("compute-sanitizer", "ncu", "nvidia-smi")}, flush=True)
    if shutil.which("nvidia-smi"):
        subprocess.run(["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv"], check=False)
    print("rgru", rgru.__version__, gpu_names(), "chip", open_device(0).chip)
