"""Whole models swap their GRUs in place, and back, or stay as they are."""

import copy

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

import rgru.torch  # noqa: E402


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 5)
        self.layers = torch.nn.ModuleList([torch.nn.GRU(5, 7, 2, bidirectional=True, dropout=0.1, batch_first=True)])
        self.cell = torch.nn.GRUCell(14, 3)
        self.lstm = torch.nn.LSTM(3, 3)

    def forward(self, ids):
        return self.lstm(self.cell(self.layers[0](self.embedding(ids))[0][:, -1]))[0]


IDS = torch.arange(12).reshape(3, 4)


def test_a_model_and_back():
    model = Tagger().eval()
    expected, kinds = model(IDS), [type(module) for module in model.modules()]
    before = dict(model.named_parameters())
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    calls = []
    model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    assert rgru.torch.convert(model) is model
    assert [type(model.layers[0]), type(model.cell), type(model.lstm)] == [
        rgru.torch.GRU,
        rgru.torch.GRUCell,
        torch.nn.LSTM,
    ]
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    torch.testing.assert_close(model(IDS), expected)
    assert calls == [1]
    assert [type(module) for module in rgru.torch.convert(model).modules()] == [type(one) for one in model.modules()]
    model(IDS).sum().backward()
    optimiser.step()
    changed = model(IDS)
    assert not torch.allclose(changed, expected)
    assert rgru.torch.revert(model) is model
    assert [type(module) for module in model.modules()] == kinds
    torch.testing.assert_close(model(IDS), changed)
    assert "rgru" not in str(copy.deepcopy(model))


def test_a_gru_by_itself():
    module = torch.nn.GRU(5, 7)
    assert type(rgru.torch.convert(module)) is rgru.torch.GRU
    assert module.reset_after


class Subclass(torch.nn.GRU):
    pass


@pytest.mark.filterwarnings("ignore")  # PyTorch's own deprecations
def test_what_does_not_fit_is_named_and_nothing_changes():
    def refuse(error, match, model, function=rgru.torch.convert):
        kinds = [type(module) for module in model.modules()]
        with pytest.raises(error, match=match):
            function(model)
        assert [type(module) for module in model.modules()] == kinds

    first = torch.nn.GRU(5, 7)
    refuse(TypeError, r"model\.1: expected torch\.nn\.GRU.*got .*Subclass", torch.nn.Sequential(first, Subclass(5, 7)))
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.GRU(5, 7), "weight_hh_l0")
    refuse(TypeError, r"model: expected torch\.nn\.GRU.*ParametrizedGRU", normed)
    everything = torch.nn.GRU(5, 7, 2, dropout=1.0)
    refuse(ValueError, r"model\.1\.dropout: expected less than 1", torch.nn.Sequential(first, everything))
    before = torch.nn.ModuleDict({"a": rgru.torch.GRU(5, 7), "b": rgru.torch.GRUCell(5, 7, reset_after=False)})
    refuse(ValueError, r"model\.b\.reset_after: expected True", before, rgru.torch.revert)
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got str"):
        rgru.torch.convert("model.pt")
