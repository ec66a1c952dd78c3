"""CuPy, or with ``--emulated`` the tests' double of it, whose kernels run in the emulator."""

import sys

if "--emulated" in sys.argv:
    import pytest

    from fake_cupy import Gpu, Machine, install

    install(pytest.MonkeyPatch(), Machine(Gpu()))
