"""Fixtures of the tests on a GPU: the libraries, where they can use one."""

import warnings

import pytest

pytest.register_assert_rewrite("gpu_runs", "kernel_cases")


@pytest.fixture(scope="session")
def cupy():
    """CuPy, where it can use a GPU."""
    from rgru.gpu.availability import find_cupy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return find_cupy(0)
        except (ImportError, RuntimeError) as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def torch(cupy):
    """PyTorch on the same GPU, with products as exact as its types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("PyTorch has no GPU")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch
