"""Print the versions of what a run depends on, and the chip."""

import cupy_here  # noqa: F401 - first

# isort: split

import platform
from importlib.metadata import PackageNotFoundError, version

import rgru
from rgru._cuda.availability import gpu_names
from rgru._cuda.device import open_device


def version_of(package: str) -> str:
    """Return the version of a package, or a dash."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


if __name__ == "__main__":
    print(platform.python_version(), platform.platform())
    packages = ("numpy", "torch", "cupy-cuda13x", "ml_dtypes", "safetensors", "pytest", "nvidia-cuda-nvrtc")
    print({package: version_of(package) for package in packages})
    print("rgru", rgru.__version__, gpu_names(), "chip", open_device(0).chip)
