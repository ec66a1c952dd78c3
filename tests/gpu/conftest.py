"""Fixtures of the tests on a GPU: the libraries, where they can use one."""

import warnings

import pytest

pytest.register_assert_rewrite("fake_host", "gpu_runs", "kernel_cases")


@pytest.fixture
def host(monkeypatch):
    """A fake CuPy, where one block computes a team."""
    import fake_cupy
    from fake_host import Host
    from rgru._cuda.kernel_config import Exchange

    host = Host(monkeypatch)
    host.form(Exchange.BLOCK)
    yield host
    fake_cupy.finish(host.machine)


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
