"""Fixtures of the tests on a GPU: the libraries, where they can use one."""

import warnings

import pytest

pytest.register_assert_rewrite("gpu_runs", "kernel_cases")


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
