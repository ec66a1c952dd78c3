"""Measure the estimators: `gpu.estimators`."""

import sys

from gpu.estimators import main  # PyTorch is loaded first

# isort: split

import cupy_here  # noqa: F401

if __name__ == "__main__":
    tiny = ["--tiny"] if "--emulated" in sys.argv else []
    sys.exit(main([one for one in sys.argv[1:] if one != "--emulated"] + tiny))
