"""Whole models of PyTorch: their outputs, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

import rgru
from rgru.model import Dropout

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
nn = torch.nn
V, E, H = 20, 6, 8


class Net(nn.Module):
    """Embedding or numbers, normalisation, a GRU, a way of pooling, a head."""

    def __init__(self, pool, *, ids=True, layers=1, **options):
        super().__init__()
        self.embedding = nn.Embedding(V, E) if ids else nn.Identity()
        self.norm = nn.LayerNorm(E)
        self.gru = nn.GRU(E, H, layers, dropout=0.1 if layers > 1 else 0.0, **{"batch_first": True, **options})
        self.dropout, self.pool = nn.Dropout(0.3), pool
        self.first = nn.Linear(H * (2 if self.gru.bidirectional else 1), 5)
        self.head = nn.Sequential(nn.LeakyReLU(0.1), nn.Linear(5, 3, bias=False), nn.Softmax(dim=-1))

    def forward(self, x, h0=None):
        y, h_n = self.gru(self.norm(self.embedding(x)), h0)
        pooled = self.pool(y, h_n)
        return self.head(torch.tanh(self.first(self.dropout(pooled))))


POOLS = {
    "last step": (lambda y, h_n: y[:, -1], {}),
    "last step, all features": (lambda y, h_n: y[:, -1, :], {"layers": 2}),
    "last step, time first": (lambda y, h_n: y[-1], {"batch_first": False}),
    "last state": (lambda y, h_n: h_n[-1], {"layers": 2}),
    "only state": (lambda y, h_n: h_n.squeeze(0), {}),
    "both states": (lambda y, h_n: torch.cat([h_n[-2], h_n[-1]], dim=1), {"layers": 2, "bidirectional": True}),
    "mean": (lambda y, h_n: y.mean(dim=1), {"bidirectional": True}),
    "mean of the module": (lambda y, h_n: torch.mean(y, 1), {}),
    "max": (lambda y, h_n: y.max(dim=1)[0], {}),
    "largest values": (lambda y, h_n: torch.max(y, 1).values, {}),
    "amax": (lambda y, h_n: torch.amax(y, dim=1), {"bidirectional": True}),
    "every step": (lambda y, h_n: y, {"bidirectional": True}),
}


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("pool", POOLS)
def test_outputs(pool, ids):
    torch.manual_seed(0)
    function, options = POOLS[pool]
    net = Net(function, ids=ids, **options).double().eval()
    model = rgru.from_torch(net)
    x = torch.randint(0, V, (4, 9)) if ids else torch.randn(4, 9, E, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x if net.gru.batch_first else x.transpose(0, 1))
    np.testing.assert_allclose(model(x.numpy()), expected, rtol=0, atol=1e-13)
    assert [layer.rate for layer in model.layers if isinstance(layer, Dropout)] == [0.3]


def test_a_row_of_modules_and_two_grus():
    class First(nn.Module):
        def __init__(self, gru):
            super().__init__()
            self.gru = gru

        def forward(self, x):
            return self.gru(x)[0]

    torch.manual_seed(0)
    net = nn.Sequential(
        First(nn.GRU(3, 5, batch_first=True)), nn.ReLU(), First(nn.GRU(5, 4, batch_first=True))
    ).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    np.testing.assert_allclose(rgru.from_torch(net)(x.numpy()), net(x).detach(), rtol=0, atol=1e-14)


class Squared(Net):
    def forward(self, x):
        y = super().forward(x)
        return y * y


class Branching(Net):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


class Both(Net):
    def forward(self, x):
        y, h_n = self.gru(self.norm(self.embedding(x)))
        return y, h_n


class Dropping(Net):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5)


class Early(Net):
    def forward(self, x):
        return self.embedding(x)[:, -1]


class Turned(Net):
    def __init__(self):
        super().__init__(LAST, ids=False)
        self.second = nn.GRU(H, H)

    def forward(self, x):
        return self.second(self.gru(x)[0])[0]


class Given(Net):
    def forward(self, x, h0):
        return super().forward(x, h0)


LAST = POOLS["last step"][0]


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (lambda: Net(LAST, bidirectional=True), "the outputs at the last step of two directions.*getitem"),
        (
            lambda: Net(lambda y, h_n: y[:, 0]),
            r"getitem\(..., \(.*, 0\)\), which is neither all steps nor the last",
        ),
        (lambda: Net(lambda y, h_n: h_n[0], layers=2), "the states of GRU.*not of its last layer.*getitem"),
        (lambda: Net(lambda y, h_n: y.mean(dim=2)), r"mean\(..., dim=2\)"),
        (lambda: Net(lambda y, h_n: torch.gelu(y[:, -1]) if hasattr(torch, "gelu") else nn.functional.gelu(y)), "gelu"),
        (lambda: Squared(LAST), r"mul\(..., .*\) at 'mul'"),
        (lambda: Branching(LAST), "a module whose forward torch.fx can follow, got Branching"),
        (lambda: Both(LAST), "returns one tensor of outputs, got several results"),
        (lambda: Dropping(LAST).eval(), "dropout that acts outside of training"),
        (lambda: Early(LAST), "neither all steps nor the last one of a GRU"),
        (Turned, "other inputs than all steps in their order, with batch_first=False"),
        (lambda: Given(LAST), "a second input 'h0'"),
        (lambda: nn.Sequential(nn.Conv1d(3, 3, 1), Net(LAST)), r"torch.nn.modules.conv.Conv1d at '0'"),
        (lambda: nn.Sequential(nn.Conv1d(3, 3, 1)), "expected torch.nn.GRU or torch.nn.GRUCell, or a module with one"),
        (lambda: nn.Sequential(nn.Linear(3, 3)), "expected torch.nn.GRU or torch.nn.GRUCell, or a module with one"),
        (
            lambda: nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 3)),
            "expected torch.nn.GRU or torch.nn.GRUCell, or a module with one",
        ),
    ],
)
def test_what_does_not_fit_is_named(net, words):
    with pytest.raises((TypeError, ValueError), match=words):
        rgru.from_torch(net())


def test_softmax_over_time_is_refused():
    net = Net(POOLS["every step"][0])
    net.head[2] = nn.Softmax(dim=1)
    with pytest.raises(ValueError, match="softmax"):
        rgru.from_torch(net)


def test_hooks_are_refused():
    net = Net(LAST)
    net.first.register_forward_hook(lambda *given: None)
    with pytest.raises(TypeError, match=r"no forward hooks.*'first'"):
        rgru.from_torch(net)


def test_an_imported_model_is_saved_and_streams(tmp_path):
    torch.manual_seed(0)
    net = Net(POOLS["last state"][0]).eval()
    model = rgru.from_torch(net)
    model.save(tmp_path / "net.safetensors")
    ids = np.array([[3, 1, 4]])
    expected = net(torch.from_numpy(ids)).detach()
    np.testing.assert_allclose(rgru.load(tmp_path / "net.safetensors")(ids), expected, atol=1e-6)
    live = rgru.Sessions(model)
    for one in ids[0]:
        y = live.step(["user"], [[one]])
    np.testing.assert_allclose(y, expected, atol=1e-6)
