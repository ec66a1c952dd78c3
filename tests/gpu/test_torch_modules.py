"""`rgru.torch` on a GPU: modules beside those of PyTorch on the CPU.

On the fake CuPy the tensors themselves stay on the CPU: what hands memory and streams over from PyTorch is replaced.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

import cuda_emulator

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

import rgru  # noqa: E402
from rgru._backends import find_backend  # noqa: E402

LAYOUTS = ("batch first", "time first", "packed", "one sequence")
N, T, FEATURES, H = 3, 6, 4, 5


@pytest.fixture
def emulated(request, monkeypatch):
    """Tensors of the CPU as if they were on the fake GPU."""
    if cuda_emulator.missing():
        pytest.skip(cuda_emulator.missing())
    host = request.getfixturevalue("host")
    from rgru.torch import _batches, _devices, _gru, _ops, _packing

    modules = [_batches, _devices, _packing, _ops, _gru, *filter(None, [sys.modules.get("rgru.keras._torch")])]
    for module in modules:
        monkeypatch.setattr(module, "backend_of", lambda _: find_backend("cuda:0"), raising=False)
        monkeypatch.setattr(module, "here", lambda _: find_backend("cuda:0").here(), raising=False)
    monkeypatch.setattr(_devices, "_array", lambda tensor: host.cupy.asarray(tensor.numpy()))
    monkeypatch.setattr(_devices, "_tensor", lambda array: torch.from_numpy(host.cupy.asnumpy(array)))
    return "cpu"


@pytest.fixture
def real(request):
    request.getfixturevalue("torch")
    return "cuda"


devices = pytest.mark.parametrize("device", ["emulated", pytest.param("real", marks=pytest.mark.gpu)])


def pair(request, device, kind, **options):
    """The same module of PyTorch on the CPU, and of rgru on the device, whose name is the third."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(FEATURES, H, **options)
    where = request.getfixturevalue(device)
    ours = getattr(rgru.torch, kind)(FEATURES, H, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours.to(where), where


def gradients(module, outputs):
    """The gradients by the parameters of a sum with different weights for all outputs."""
    total = sum((one * torch.arange(one.numel(), device=one.device).reshape(one.shape)).sum() for one in outputs)
    module.zero_grad()
    total.backward()
    return [one.grad.cpu() for one in module.parameters()]


def close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other.cpu(), rtol=tolerance, atol=tolerance)


@devices
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gru(request, device, layout):
    """Outputs, states and all gradients, those of inputs and initial states as well, before and after a change."""
    options = {"num_layers": 2, "bidirectional": True, "batch_first": layout == "batch first"}
    theirs, ours, where = pair(request, device, "GRU", **options)
    shape = {"batch first": (N, T, FEATURES), "one sequence": (T, FEATURES)}.get(layout, (T, N, FEATURES))
    states = (4, H) if layout == "one sequence" else (4, N, H)
    for _ in range(2):
        found = []
        for module, to in ((theirs, "cpu"), (ours, where)):
            random = torch.Generator().manual_seed(1)
            x, hx = torch.randn(shape, generator=random).to(to), torch.randn(states, generator=random).to(to)
            x.requires_grad_()
            hx.requires_grad_()
            given = torch.nn.utils.rnn.pack_padded_sequence(x, [6, 4, 1]) if layout == "packed" else x
            y, h_n = module(given, hx)
            outputs = [y.data if layout == "packed" else y, h_n]
            found.append([*outputs, *gradients(module, outputs), x.grad, hx.grad])
            torch.optim.SGD(module.parameters(), 1e-3).step()
        close(found[1], found[0], 1e-4)


@devices
def test_a_cell(request, device):
    theirs, ours, where = pair(request, device, "GRUCell")
    x, hx = torch.randn(N, FEATURES), torch.randn(N, H)
    close([ours(x.to(where), hx.to(where))], [theirs(x, hx)], 1e-5)
    close(gradients(ours, [ours(x.to(where))]), gradients(theirs, [theirs(x)]), 1e-4)


@devices
def test_inference_and_a_gru_of_rgru(request, device):
    theirs, ours, where = pair(request, device, "GRU", batch_first=True)
    x = torch.randn(N, T, FEATURES)
    with torch.inference_mode():
        close(ours(x.to(where)), theirs(x), 1e-5)
    gru = ours.to_rgru()
    np.testing.assert_array_equal(gru.params.flat, rgru.from_torch(theirs).params.flat)


@devices
def test_lower_types(request, device):
    """Computed in float32, and rounded."""
    theirs, ours, where = pair(request, device, "GRU", batch_first=True)
    x = torch.randn(N, T, FEATURES).bfloat16()
    y, _ = ours.bfloat16()(x.to(where))
    assert y.dtype == torch.bfloat16
    expected, _ = theirs.bfloat16().float()(x.float())
    close([y.float()], [expected], 2**-8)


def test_dropout_has_the_masks_of_the_cpu(request):
    torch.manual_seed(0)
    module = rgru.torch.GRU(FEATURES, H, 2, dropout=0.5)
    x, found = torch.randn(T, N, FEATURES), []
    for _ in range(2):
        torch.manual_seed(7)
        found.append(module(x)[0])
        module.flatten_parameters()
        if len(found) == 1:
            request.getfixturevalue("emulated")
    close(found[1:], found[:1], 1e-5)


@devices
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_the_layer_of_keras(request, device, monkeypatch):
    """Its run over a batch with lengths, and the gradients by parameters, inputs and initial states."""
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    pytest.importorskip("rgru.keras")
    from rgru.keras._torch import run

    gru, random, found = rgru.GRU(FEATURES, H, seed=0), torch.Generator().manual_seed(1), []
    x, h0 = torch.randn(N, T, FEATURES, generator=random), torch.randn(1, N, H, generator=random)
    for where in ("cpu", device):
        to = "cpu" if where == "cpu" else request.getfixturevalue(where)
        given = [one.detach().to(to).requires_grad_() for one in (torch.tensor(gru.params.flat), x, h0)]
        lengths = torch.tensor([6, 0, 3]).to(to)
        y, h_n = run(gru, *given, lengths)
        (y.square().sum() + h_n.sum()).backward()
        with torch.no_grad():
            found.append([y, h_n, *(one.grad for one in given), *run(gru, *given, lengths)])
    close(found[1], found[0], 1e-4)


def test_tensors_on_two_devices():
    module = rgru.torch.GRU(FEATURES, H)
    with pytest.raises(RuntimeError, match="expected tensors on one device, got meta and cpu"):
        module(torch.zeros(T, N, FEATURES, device="meta"))


@pytest.mark.gpu
def test_the_stream_of_pytorch(request):
    """The module waits for what PyTorch's current stream computes, and PyTorch for the module."""
    theirs, ours, where = pair(request, "real", "GRU")
    source = torch.randn(T, N, FEATURES)
    given = torch.full((T, N, FEATURES), float("nan"), device=where)
    on_gpu = source.to(where)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        given.copy_(on_gpu)
        y = ours(given)[0] + 0
        torch.cuda.current_stream().synchronize()
    close([y], [theirs(source)[0]], 1e-5)


@pytest.mark.gpu
def test_compiled_on_a_gpu(request):
    """One operator, also for the compiler."""
    theirs, ours, where = pair(request, "real", "GRU")
    x = torch.randn(T, N, FEATURES)
    compiled = torch.compile(ours, fullgraph=True)
    close(gradients(ours, compiled(x.to(where))), gradients(theirs, theirs(x)), 1e-4)
