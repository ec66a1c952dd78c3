"""Packed weights are kept between calls, and never used after a parameter has changed, however that was done."""

import gc
import weakref

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

import rgru.torch  # noqa: E402
from rgru.torch import _packing  # noqa: E402

X = torch.ones(3, 2, 5)


def packed(module):
    return _packing._kept.get(module._weights()[0])


def test_calls_share_the_packed_weights():
    module = rgru.torch.GRU(5, 7, 2)
    with torch.no_grad():
        module(X)
        first = packed(module)
        module(X)
    assert packed(module) is first
    y, _ = module(X)
    y.sum().backward()
    assert packed(module) is first


def optimiser(module):
    torch.optim.Adam(module.parameters(), lr=0.1).step()


def loaded(module):
    module.load_state_dict(type(module)(5, 70, 2).state_dict())


def moved(module):
    module.double().float()
    optimiser(module)


def replaced(module):
    module.weight_hh_l1 = torch.nn.Parameter(module.weight_hh_l1.detach() + 1)


def through_data(module):
    module.weight_hh_l1.data.mul_(0.5)


def few_through_data(module):
    module.weight_hh_l1.data[5, 3] += 1.0
    module.flatten_parameters()


def bias_through_data(module):
    module.bias_ih_l0.data[100] += 1.0


CHANGES = [optimiser, loaded, moved, replaced, through_data, few_through_data, bias_through_data]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_noticed(change):
    module = rgru.torch.GRU(5, 70, 2)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    with torch.no_grad():
        before = module(X)[0].clone()
        change(module)
        plain = torch.nn.GRU(5, 70, 2)
        plain.load_state_dict(module.state_dict())
        found = module(X)[0]
        torch.testing.assert_close(found, plain(X)[0])
    assert not torch.equal(found, before)


PLACES = [("weight_hh_l0", (150, 3)), ("weight_ih_l1", (75, 60)), ("weight_hh_l1_reverse", (3, 5))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_calls_of_many_steps_notice_every_change(name, place, dtype):
    module = rgru.torch.GRU(5, 70, 2, bidirectional=True, dtype=dtype)
    x = torch.ones(_packing.EXACT // 2, 2, 5, dtype=dtype)
    with torch.no_grad():
        before, first = module(x)[0], packed(module)
        module(x)
        assert packed(module) is first
        getattr(module, name).data[place] += 1.0
        assert not torch.equal(module(x)[0], before)


def test_a_gru_of_changed_numbers():
    module = rgru.torch.GRU(5, 70)
    module(X)
    module.weight_hh_l0.data[5, 3] = 7.0
    assert module.to_rgru().layers[0].fwd.U[5, 3] == 7.0


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        module = rgru.torch.GRU(5, 7)
        before = module(X)[0]
        module.weight_hh_l0.mul_(2.0)
        assert not torch.equal(module(X)[0], before)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own deprecations
def test_pruning_parametrisations_and_functional_calls():
    from torch.nn.utils import prune

    module = prune.random_unstructured(rgru.torch.GRU(5, 7), "weight_hh_l0", amount=0.5)
    plain = torch.nn.GRU(5, 7)
    expected = {name: getattr(module, name).detach() for name in module._flat_weights_names}
    torch.testing.assert_close(module(X)[0], torch.func.functional_call(plain, expected, X)[0])
    normed = torch.nn.utils.parametrizations.weight_norm(rgru.torch.GRU(5, 7), "weight_hh_l0")
    optimiser = torch.optim.SGD(normed.parameters(), lr=0.5)
    for _ in range(3):  # new weights at an address that the old ones may have had
        expected = {name: getattr(normed, name).detach() for name in normed._flat_weights_names}
        y = normed(X)[0]
        torch.testing.assert_close(y, torch.func.functional_call(plain, expected, X)[0])
        y.square().sum().backward()
        assert normed.parametrizations.weight_hh_l0.original0.grad.abs().sum() > 0
        optimiser.step()
    other = {name: parameter * 2 for name, parameter in plain.named_parameters()}
    ours = torch.func.functional_call(rgru.torch.convert(plain), other, X)[0]
    torch.testing.assert_close(ours, torch.func.functional_call(rgru.torch.revert(plain), other, X)[0])


def test_one_parameter_in_two_modules():
    one, two = rgru.torch.GRU(5, 7), rgru.torch.GRU(5, 7, reset_after=False)
    two.weight_ih_l0 = one.weight_ih_l0
    first = one(X)[0], two(X)[0]
    assert torch.equal(one(X)[0], first[0])
    assert torch.equal(two(X)[0], first[1])
    assert not torch.equal(*first)


def test_nothing_is_kept_of_a_module_that_is_gone():
    module = rgru.torch.GRU(5, 7)
    module(X)
    kept = weakref.ref(packed(module))
    del module
    gc.collect()
    assert kept() is None
