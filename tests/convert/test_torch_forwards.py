"""Whole models of PyTorch whose forward moves numbers around: shapes, states, slices, lengths, numbers in place."""

from __future__ import annotations

import numpy as np
import pytest

import rgru

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
nn, packing = torch.nn, torch.nn.utils.rnn
E, H = 5, 7


class Net(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, torch.Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self._forward = forward

    def forward(self, x, h0=None):
        return self._forward(self, x, h0)


def gru(features=E, **options):
    return nn.GRU(features, H, **{"batch_first": True, **options})


def batch_norm(size):
    norm = nn.BatchNorm1d(size)
    for one in (norm.running_mean, norm.weight.data, norm.bias.data):
        one.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


def zeros(net, x, h0):
    states = torch.zeros(2, x.size(0), H, dtype=x.dtype).to(x.device)
    return net.head(net.gru(x, states.detach())[0][:, -1, :])


def learned(net, x, h0):
    if h0 is None:
        h0 = net.h0.expand(-1, x.shape[0], -1).contiguous()
    return net.head(net.gru(x, h0)[0])


def time_first(net, x, h0):
    return net.head(net.gru(x.permute(1, 0, 2))[0]).transpose(0, 1)


def flat(net, x, h0):
    y = net.gru(x)[0]
    n, t, size = y.shape
    return net.head(y.reshape(n * t, size)).view(n, t, -1)


def states_as_rows(net, x, h0):
    return net.head(net.gru(x)[1][-2:].transpose(0, 1).flatten(1))


def ends(net, x, h0):
    y = net.gru(x)[0]
    return net.head(torch.cat([y[:, -1, :H], y[:, 0, H:]], dim=1))


def both_added(net, x, h0):
    y = net.gru(x)[0]
    return net.head(y[..., :H] + y[..., H:])


def states_averaged(net, x, h0):
    h_n = net.gru(x)[1]
    return net.head((h_n[0] + h_n[1]) / 2)


def scaled(net, x, h0):
    y = net.gru((x - net.mean) / torch.sqrt(net.variance + 1e-3))[0]
    return 1 - net.head(y[:, y.size(1) - 1]) * net.scale


def squeezed(net, x, h0):
    return torch.sigmoid(net.head(net.gru(x)[0].select(1, -1)).squeeze(-1))


def average_pooled(net, x, h0):
    return net.head(nn.functional.adaptive_avg_pool1d(net.gru(x)[0].transpose(1, 2), 1).squeeze(2))


def normalised(net, x, h0):
    x = net.first(x.transpose(1, 2)).transpose(1, 2)
    return net.head(net.second(net.gru(x)[0][:, -1]))


def in_place(net, x, h0):
    y = net.gru(x)[0]
    y *= 2
    return nn.functional.leaky_relu_(net.head(y), 0.2)


def head(size=H, outputs=3):
    return nn.Linear(size, outputs)


FORWARDS = {
    "states of zeros": lambda: Net(zeros, gru=gru(num_layers=2), head=head()),
    "learned states": lambda: Net(
        learned, gru=gru(num_layers=2, bidirectional=True), head=head(2 * H), h0=torch.randn(4, 1, H)
    ),
    "time first": lambda: Net(time_first, gru=gru(batch_first=False), head=head()),
    "steps as one batch": lambda: Net(flat, gru=gru(), head=head()),
    "states as rows": lambda: Net(states_as_rows, gru=gru(num_layers=2, bidirectional=True), head=head(2 * H)),
    "slices of two directions": lambda: Net(ends, gru=gru(bidirectional=True), head=head(2 * H)),
    "sum of two directions": lambda: Net(both_added, gru=gru(bidirectional=True), head=head()),
    "mean of two states": lambda: Net(states_averaged, gru=gru(bidirectional=True), head=head()),
    "constants": lambda: Net(
        scaled, gru=gru(), head=head(), mean=torch.randn(1, 1, E), variance=torch.rand(E), scale=torch.tensor(2.5)
    ),
    "one number": lambda: Net(squeezed, gru=gru(), head=head(outputs=1)),
    "pooling of the last axis": lambda: Net(average_pooled, gru=gru(), head=head()),
    "batch normalisation": lambda: Net(normalised, first=batch_norm(E), gru=gru(), second=batch_norm(H), head=head()),
    "operations in place": lambda: Net(in_place, gru=gru(), head=head()),
    "one slope": lambda: nn.Sequential(Net(lambda net, x, h0: net.gru(x)[0], gru=gru()), nn.PReLU(init=0.3)),
    "limits": lambda: nn.Sequential(
        Net(lambda net, x, h0: torch.clamp(net.gru(x)[0], min=-0.1), gru=gru()), nn.Hardtanh(-0.05, 0.1)
    ),
    "relu6": lambda: Net(lambda net, x, h0: nn.functional.relu6(net.gru(x)[0] * 9).clip(max=5), gru=gru()),
    "no gains": lambda: nn.Sequential(
        nn.LayerNorm(E, elementwise_affine=False), Net(lambda net, x, h0: net.gru(x)[0], gru=gru())
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_outputs(name):
    torch.manual_seed(0)
    net = FORWARDS[name]().double().eval()
    x = torch.randn(4, 9, E, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x.clone()).numpy()
    outputs = rgru.from_torch(net)(x.numpy())
    np.testing.assert_allclose(outputs.reshape(expected.shape), expected, rtol=0, atol=1e-13)


def test_a_large_vocabulary():
    class Words(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.embedding, self.gru, self.head = nn.Embedding(size, 2), nn.GRU(2, 2, batch_first=True), head(2, size)

        def forward(self, ids):
            return torch.softmax(self.head(self.gru(self.embedding(ids))[0]), -1)

    net, ids = Words(100_000), torch.tensor([[3, 99_999]])
    np.testing.assert_allclose(rgru.from_torch(net)(ids.numpy()), net(ids).detach(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"arrays as large as .* too many numbers to follow at 'head'"):
        rgru.from_torch(Words(3_000_000))


def test_half_precision_becomes_float32():
    torch.manual_seed(0)
    net = nn.Sequential(Net(lambda net, x, h0: net.gru(x)[0], gru=gru()), head(), nn.PReLU()).bfloat16().eval()
    model = rgru.from_torch(net)
    x = torch.randn(2, 4, E)
    np.testing.assert_allclose(model(x.numpy()), net.float()(x).detach(), rtol=0, atol=1e-6)


class Lengths(nn.Module):
    """A classifier of padded texts."""

    def __init__(self, **options):
        super().__init__()
        self.words, self.gru = nn.Embedding(20, E, padding_idx=0), gru(bidirectional=True, **options)
        self.dropout, self.head = nn.Dropout(0.3), head(2 * H, 3)

    def forward(self, ids, lengths):
        packed = packing.pack_padded_sequence(self.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, h_n = self.gru(packed)
        return self.result(y, h_n)

    def result(self, y, h_n):
        return self.head(self.dropout(torch.cat((h_n[-2, :, :], h_n[-1, :, :]), dim=1)))


class Tagger(Lengths):
    def result(self, y, h_n):
        return self.head(nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0])


@pytest.mark.parametrize("kind", [Lengths, Tagger])
def test_packed_sequences_are_lengths(kind):
    torch.manual_seed(0)
    net = kind(num_layers=2).eval()
    ids, lengths = torch.randint(1, 20, (3, 6)), torch.tensor([4, 6, 1])
    with torch.no_grad():
        expected = net(ids, lengths).numpy()
    outputs = rgru.from_torch(net)(ids.numpy(), lengths=lengths.numpy())
    if kind is Tagger:  # which has the bias of the head after the last step, rgru zeros
        for row, length in enumerate(lengths):
            assert not outputs[row, length:].any()
            outputs[row, length:] = expected[row, length:]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)


class Averaged(Lengths):
    def result(self, y, h_n):
        return self.head(packing.pad_packed_sequence(y, batch_first=True)[0].mean(1))


class Last(Lengths):
    def result(self, y, h_n):
        return self.head(packing.pad_packed_sequence(y, batch_first=True)[0][:, -1])


class Unpacked(Lengths):
    def result(self, y, h_n):
        return self.gru(packing.pad_packed_sequence(y, batch_first=True)[0][..., :E])[0]


class Scaled(Lengths):
    def forward(self, ids, lengths):
        return self.head(self.gru(self.words(ids))[0]) / lengths


def changed_view(net, x, h0):
    y = net.gru(x)[0]
    last = y[:, -1]
    last *= 2
    return net.head(y)


def dropped(net, x, h0):
    y = net.gru(x)[0]
    y.relu_()
    return net.head(y)


def own_forward():
    net = Net(lambda net, x, h0: net.head(net.gru(x)[0]), gru=gru(), head=head())
    net.head.forward = lambda x: x
    return net


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Averaged, "pooling that takes in the steps after the last one of a packed sequence at 'mean'"),
        (Last, "the last of all steps, which a packed sequence may not have"),
        (Unpacked, "sequences that are packed for some GRUs only at 'gru'"),
        (Scaled, "a second input"),
        (lambda: Net(changed_view, gru=gru(), head=head()), "an operation in place on a value that is read elsewhere"),
        (lambda: Net(dropped, gru=gru(), head=head()), "an operation in place on a value that is read elsewhere"),
        (own_forward, "Linear with a forward of its own at 'head'"),
        (lambda: Net(normalised, first=batch_norm(E), gru=gru(), second=batch_norm(H), head=head()), "call eval()"),
        (lambda: Net(lambda net, x, h0: net.gru(x[:, :100])[0], gru=gru()), "a cut of an axis that may be longer"),
        (lambda: Net(lambda net, x, h0: net.gru(x[:, -100:])[0], gru=gru()), "a cut of an axis that may be longer"),
        (lambda: Net(lambda net, x, h0: net.gru(x.split(100, 1)[0])[0], gru=gru()), "split"),
        (lambda: Net(lambda net, x, h0: net.gru(x.flip(1))[0], gru=gru()), "flip"),
        (lambda: Net(lambda net, x, h0: net.gru(x + x.size(1))[0], gru=gru()), r"add\(..., size\)"),
        (lambda: Net(lambda net, x, h0: net.gru(x + net.mean)[0], gru=gru(), mean=torch.ones(6, E)), r"\(6, 5\)"),
        (lambda: Net(lambda net, x, h0: net.gru(x, torch.randn(1, x.size(0), H))[0], gru=gru()), "randn"),
        (
            lambda: Net(lambda net, x, h0: net.gru(x, net.h)[0], gru=gru(), h=torch.randn(1, 3, H)),
            "initial states that are not the same for all sequences",
        ),
        (lambda: Net(lambda net, x, h0: net.gru(net.gru(x)[0][:, 1:, :E])[0], gru=gru()), "no rows of one layer"),
        (lambda: Net(lambda net, x, h0: torch.softmax(net.gru(x)[0][..., 0], 1), gru=gru()), "no rows of one layer"),
        (
            lambda: Net(
                lambda net, x, h0: torch.softmax(net.head(net.gru(x)[0])[..., 0], 1), gru=gru(), head=head(H, 1)
            ),
            "a layer for rows of features that were squeezed at 'softmax'",
        ),
    ],
)
def test_what_would_change_the_outputs_is_refused(net, words):
    with pytest.raises((TypeError, ValueError), match=words):
        rgru.from_torch(net())
