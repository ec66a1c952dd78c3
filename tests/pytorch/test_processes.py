"""Several processes: workers of a DataLoader, forks, and training by DistributedDataParallel; and threads."""

import os
import select
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

import rgru  # noqa: E402
import rgru.torch  # noqa: E402

SHAPE = (50, 64, 32)  # large enough for several threads


class Features(torch.utils.data.Dataset):
    """Items that a GRU computes, in the worker."""

    def __init__(self, module):
        self.module, self.x = module, torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return 4

    def __getitem__(self, item):
        with torch.no_grad():
            return self.module(self.x * item)[0][-1], rgru.info()["num_threads"]


def test_workers_of_a_data_loader():
    """They give the same bits, on one thread each, whether or not the parent's threads are at work."""
    module = rgru.torch.GRU(32, 64)
    data = Features(module)
    expected = [data[i][0] for i in range(len(data))]
    threads = rgru.info()["num_threads"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks of processes with threads
        loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, timeout=60)
        found = list(loader)
    assert all(map(torch.equal, (value for value, _ in found), expected))
    assert {count for _, count in found} == {1}
    assert rgru.info()["num_threads"] == threads


def test_a_fork_trains():
    """A child gets its own threads, and the packed weights of its parent."""
    module, x = rgru.torch.GRU(32, 64), torch.randn(SHAPE)
    module(x)[0].sum().backward()
    expected = module.weight_hh_l0.grad.clone()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # PyTorch's own threads do not survive a fork
        module.zero_grad()
        module(x)[0].sum().backward()
        os.write(write, bytes([torch.equal(module.weight_hh_l0.grad, expected)]))
        os._exit(0)
    if not select.select([read], [], [], 60)[0]:
        os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 1) == b"\x01"
    os.close(read)
    os.close(write)


RANK = """
import sys
import torch
import rgru.torch

rank, file = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
torch.manual_seed(0)
model = torch.nn.ModuleDict({"gru": rgru.torch.GRU(5, 7, 2, bidirectional=True), "head": torch.nn.Linear(14, 2)})


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = model

    def forward(self, x):
        return self.parts["head"](self.parts["gru"](x)[0])


whole = Whole()
data = torch.randn(2, 6, 4, 5)
parallel = torch.nn.parallel.DistributedDataParallel(whole)
optimiser = torch.optim.SGD(parallel.parameters(), lr=0.1)
for _ in range(2):
    optimiser.zero_grad()
    parallel(data[rank]).square().mean().backward()
    optimiser.step()
found = [parameter.grad.clone() for parameter in model.parameters()]
for gradient in found:
    both = [torch.empty_like(gradient) for _ in range(2)]
    torch.distributed.all_gather(both, gradient)
    assert torch.equal(*both)

# One process over both parts of the data.
torch.manual_seed(0)
model = torch.nn.ModuleDict({"gru": rgru.torch.GRU(5, 7, 2, bidirectional=True), "head": torch.nn.Linear(14, 2)})
whole = Whole()
optimiser = torch.optim.SGD(whole.parameters(), lr=0.1)
for _ in range(2):
    optimiser.zero_grad()
    whole(torch.cat(list(data), dim=1)).square().mean().backward()
    optimiser.step()
for gradient, parameter in zip(found, model.parameters(), strict=True):
    torch.testing.assert_close(gradient, parameter.grad)
torch.distributed.destroy_process_group()
print("equal")
"""


def test_distributed_training(tmp_path):
    """Both processes have the gradients that one would have over all the data."""
    command = [sys.executable, "-c", RANK]
    store, pipes = str(tmp_path / "store"), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ranks = [subprocess.Popen([*command, str(rank), store], **pipes) for rank in range(2)]
    outputs = [rank.communicate(timeout=240)[0].decode() for rank in ranks]
    assert [output.split()[-1:] for output in outputs] == [["equal"]] * 2, outputs


def test_threads():
    """Calls and backward passes at once give the bits of one after the other, also while a parameter changes."""
    module, x = rgru.torch.GRU(5, 7), torch.randn(6, 4, 5)

    def gradient(i):
        y = module(x * i)[0]
        return torch.autograd.grad(y.sum(), module.weight_hh_l0)[0]

    expected = [gradient(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert all(map(torch.equal, pool.map(gradient, range(8)), expected))
            with torch.no_grad():
                module.weight_ih_l0.copy_(module.weight_ih_l0.clone())
