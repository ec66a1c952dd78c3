"""`rgru.torch.GRU` and `GRUCell` do what `torch.nn`'s do: outputs, gradients, checkpoints, types and errors."""

import copy
import io
import itertools
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence  # noqa: E402

import rgru  # noqa: E402
import rgru.torch  # noqa: E402

DOUBLE = torch.float64


def normal(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(dtype)


def pair(*arguments, dtype=DOUBLE, **options):
    """PyTorch's module and ours, with the same parameters."""
    theirs = torch.nn.GRU(*arguments, dtype=dtype, **options)
    ours = rgru.torch.GRU(*arguments, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def results(module, inputs, leaves, **forward):
    """Outputs, and the gradients of a scalar of all of them by the leaves and the parameters."""
    outputs = [one.data if hasattr(one, "batch_sizes") else one for one in module(*inputs, **forward)]
    scalar = sum((one * normal(*one.shape, seed=7, dtype=one.dtype)).sum() for one in outputs)
    return [*outputs, *torch.autograd.grad(scalar, [*leaves, *module.parameters()])]


def assert_same(found, expected, tolerance=1e-12):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


CASES = list(itertools.product((False, True), repeat=4))


@pytest.mark.parametrize(("bias", "bidirectional", "batch_first", "with_states"), CASES)
def test_tensors(bias, bidirectional, batch_first, with_states):
    modules = pair(5, 7, 2, bias=bias, bidirectional=bidirectional, batch_first=batch_first)
    x = normal(*((4, 6, 5) if batch_first else (6, 4, 5))).requires_grad_()
    states = [normal(2 * (1 + bidirectional), 4, 7, seed=1).requires_grad_()] if with_states else []
    theirs, ours = (results(module, [x, *states], [x, *states]) for module in modules)
    assert_same(ours, theirs)
    assert ours[0].is_contiguous()
    assert_same(modules[1].eval()(x, *states), theirs[:2])
    with torch.inference_mode():
        assert_same(modules[1](x, *states), theirs[:2])


@pytest.mark.parametrize(("bidirectional", "batch_first", "with_states", "sorted_"), CASES)
def test_packed_sequences(bidirectional, batch_first, with_states, sorted_):
    modules = pair(5, 7, 2, bidirectional=bidirectional, batch_first=batch_first)
    lengths = (6, 3, 3, 1) if sorted_ else (3, 6, 1, 6)
    packed = pack_sequence([normal(length, 5, seed=length) for length in lengths], enforce_sorted=sorted_)
    packed.data.requires_grad_()
    states = [normal(2 * (1 + bidirectional), 4, 7, seed=1).requires_grad_()] if with_states else []
    theirs, ours = (results(module, [packed, *states], [packed.data, *states]) for module in modules)
    assert_same(ours, theirs)
    for one, other in zip(*(pad_packed_sequence(module(packed, *states)[0]) for module in modules), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch(batch_first):
    modules = pair(5, 7, 2, bidirectional=True, batch_first=batch_first)
    x, h0 = normal(6, 5).requires_grad_(), normal(4, 7).requires_grad_()
    theirs, ours = (results(module, [x, h0], [x, h0]) for module in modules)
    assert_same(ours, theirs)


@pytest.mark.parametrize(("bias", "with_states", "batched"), list(itertools.product((False, True), repeat=3)))
def test_cells(bias, with_states, batched):
    theirs = torch.nn.GRUCell(5, 7, bias=bias, dtype=DOUBLE)
    ours = rgru.torch.GRUCell(5, 7, bias=bias, dtype=DOUBLE)
    ours.load_state_dict(theirs.state_dict())
    batch = (3,) if batched else ()
    x, h = normal(*batch, 5).requires_grad_(), normal(*batch, 7, seed=1).requires_grad_()
    inputs = [x, h] if with_states else [x]

    def twice(cell):
        first = cell(*inputs)
        second = cell(x * 2, first)  # the gradient of states runs through both
        return [second, *torch.autograd.grad((second * normal(*second.shape)).sum(), [*inputs, *cell.parameters()])]

    assert_same(twice(ours), twice(theirs))
    with torch.no_grad():
        assert_same([ours(*inputs)], [theirs(*inputs)])


@pytest.mark.parametrize("bias", [False, True])
def test_the_other_cell(bias):
    """Outputs of reset-before are rgru's own; its gradients are those of central differences."""
    gru = rgru.GRU(5, 7, 2, bidirectional=True, bias=bias, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    gru.params.update({name: rng.standard_normal(array.shape) for name, array in gru.params.items()})
    module = rgru.torch.GRU.from_rgru(gru)
    x = normal(3, 6, 5).requires_grad_()
    y, h_n = module(x)
    expected = gru(x.detach().numpy())
    assert np.array_equal(y.detach().numpy(), expected[0])
    assert np.array_equal(h_n.detach().numpy(), expected[1])
    assert np.array_equal(module.to_rgru().params.flat, gru.params.flat)
    assert repr(module.to_rgru()) == repr(gru)
    assert repr(module).endswith(", batch_first=True, bidirectional=True, reset_after=False)")
    small = rgru.torch.GRU(2, 3, bias=bias, dtype=DOUBLE, reset_after=False)
    assert torch.autograd.gradcheck(small, (normal(4, 2, 2).requires_grad_(), normal(1, 2, 3).requires_grad_()))
    assert torch.autograd.gradcheck(lambda *_: small(normal(4, 2, 2)), tuple(small.parameters()))
    cell = rgru.torch.GRUCell(2, 3, bias=bias, dtype=DOUBLE, reset_after=False)
    assert torch.autograd.gradcheck(cell, (normal(4, 2).requires_grad_(), normal(4, 3).requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types(dtype):
    """Half precision is no further from the double-precision result than PyTorch's own; float32 twice at most."""
    exact, _ = pair(5, 7, 2, bidirectional=True)
    x = normal(6, 4, 5).requires_grad_()
    modules = [copy.deepcopy(exact).to(dtype), rgru.torch.convert(copy.deepcopy(exact)).to(dtype)]
    low = x.detach().to(dtype).requires_grad_()
    expected = results(exact, [x], [x])
    theirs, ours = (results(module, [low], [low]) for module in modules)
    assert {one.dtype for one in ours} == {dtype}
    errors = [
        sum((one - other).square().sum().item() for one, other in zip(some, expected, strict=True))
        for some in (theirs, ours)
    ]
    # In squares, since single numbers are a matter of luck. In float32 both only add in another order.
    assert errors[1] <= (4 if dtype is torch.float32 else 1) * errors[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_gives_the_types_of_pytorch(dtype):
    """Whatever mixture of types comes in; numbers are those of float32."""
    modules = pair(5, 7, batch_first=True, dtype=torch.float32)
    for kind, states in itertools.product((torch.float32, dtype), (None, torch.float32, dtype)):
        inputs = [normal(4, 6, 5, dtype=kind)] + ([] if states is None else [normal(1, 4, 7, dtype=states)])
        plain = modules[0](*(tensor.float() for tensor in inputs))
        with torch.autocast("cpu", dtype):
            theirs, ours = (module(*inputs) for module in modules)
        assert [one.dtype for one in ours] == [one.dtype for one in theirs]
        for one, other in zip(ours, plain, strict=True):  # rounded once, to its type
            torch.testing.assert_close(one.float(), other, rtol=torch.finfo(one.dtype).eps / 2, atol=1e-6)


def test_dropout_is_of_the_generator_and_for_training():
    theirs, ours = pair(5, 7, 3, dropout=0.4, batch_first=True)
    x = normal(4, 6, 5).requires_grad_()

    def seeded(seed, module=ours):
        torch.manual_seed(seed)
        y = module(x)[0]
        return [y, *torch.autograd.grad(y.sum(), [x, *module.parameters()])]

    assert_same(seeded(1), seeded(1), 0)
    assert not torch.equal(seeded(1)[0], seeded(2)[0])
    expected = seeded(1)[:1]
    torch.manual_seed(1)
    with torch.no_grad():
        assert_same([ours(x)[0]], expected, 0)  # dropout does not need gradients
    before = torch.get_rng_state()
    assert_same(ours.eval()(x), theirs.eval()(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_has_the_rate_and_the_scale_of_pytorch():
    """The first layer has equal outputs; the second is nearly linear, and adds up those that were kept."""
    module = rgru.torch.GRU(1, 2000, 2, dropout=0.3, bias=False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.weight_ih_l0[4000:] = 1.0
        module.weight_ih_l1[4000] = 0.0001
    y = module(torch.ones(1, 50, 1))[0][0, :, 0] / 0.5 / 0.0001  # sums of the 2,000 dropped outputs
    expected = 2000 * 0.5 * np.tanh(1.0)
    assert y.mean().item() == pytest.approx(expected, rel=0.01)
    assert y.std().item() == pytest.approx(expected * (0.3 / 0.7 / 2000) ** 0.5, rel=0.4)


def test_checkpoints_load_both_ways():
    theirs, ours = torch.nn.GRU(5, 7, 2, bidirectional=True), rgru.torch.GRU(5, 7, 2, bidirectional=True)
    assert [(name, one.shape) for name, one in ours.state_dict().items()] == [
        (name, one.shape) for name, one in theirs.state_dict().items()
    ]
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    x = normal(6, 4, 5, dtype=torch.float32)
    assert_same(ours(x), theirs(x), 1e-6)


def test_the_same_seed_gives_the_parameters_of_pytorch():
    for kind in ("GRU", "GRUCell"):
        torch.manual_seed(3)
        theirs = getattr(torch.nn, kind)(5, 7).state_dict()
        torch.manual_seed(3)
        assert_same(getattr(rgru.torch, kind)(5, 7).state_dict().values(), theirs.values(), 0)


def test_attributes_and_repr_are_those_of_pytorch():
    theirs, ours = pair(5, 7, 2, bias=False, batch_first=True, dropout=0.25, bidirectional=True)
    names = ["mode", "proj_size", *torch.nn.GRU.__constants__]
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    assert [len(some) for some in ours.all_weights] == [len(some) for some in theirs.all_weights]
    assert repr(ours) == repr(theirs)
    assert repr(rgru.torch.GRUCell(5, 7, False)) == repr(torch.nn.GRUCell(5, 7, False))
    assert isinstance(ours, torch.nn.RNNBase)
    assert isinstance(rgru.torch.GRUCell(5, 7), torch.nn.GRUCell)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies(again):
    module = rgru.torch.GRU(5, 7, 2, reset_after=False)
    x = normal(6, 4, 5, dtype=torch.float32)
    y = module(x)[0]
    other = again(module)
    assert torch.equal(other(x)[0], y)
    with torch.no_grad():
        module.weight_hh_l1.zero_()
    assert torch.equal(other(x)[0], y)
    assert not torch.equal(module(x)[0], y)


def test_whole_modules_in_a_file(tmp_path):
    module = rgru.torch.GRU(5, 7)
    torch.save(module, tmp_path / "module.pt")
    x = normal(6, 4, 5, dtype=torch.float32)
    assert torch.equal(torch.load(tmp_path / "module.pt", weights_only=False)(x)[0], module(x)[0])


def test_memory_is_shared_not_copied():
    x = torch.zeros(4, 6, 5)
    seen = []
    module = rgru.torch.GRU(5, 7, batch_first=True)
    core = rgru.torch._packing.packed_weights(module._weights(), module._cell, 1)

    class Core:
        def forward(self, values, *rest):
            seen.append((values, *core_of_all.forward(values, *rest)))
            return seen[0][1:]

    core_of_all, core._cores[False] = core.core(False), Core()
    with torch.no_grad():
        y, h_n = module(x)
    assert [array.ctypes.data for array in seen[0]] == [tensor.data_ptr() for tensor in (x, y, h_n)]


def test_inputs_of_any_layout():
    theirs, ours = pair(5, 7, batch_first=True)
    whole = normal(6, 8, 10)
    for x in (whole[:, :, ::2], whole[:, :, 5:], whole.transpose(0, 1)[:, :, :5], whole[:, :1, :5].expand(6, 8, 5)):
        leaf = x.detach().requires_grad_()
        states = normal(7, x.shape[0], 1).transpose(0, 2).requires_grad_()
        assert_same(results(ours, [leaf, states], [leaf, states]), results(theirs, [leaf, states], [leaf, states]))


@pytest.mark.parametrize(("batch_first", "shape"), [(False, (6, 4, 5)), (False, (6, 1, 5)), (True, (6, 4, 5))])
def test_an_output_changed_in_place(batch_first, shape):
    """An output that the backward pass needs cannot be changed in silence; one that it does not need can."""
    theirs, ours = pair(5, 7, batch_first=batch_first)
    x = normal(*shape)

    def gradient(module):
        y = module(x)[0]
        y.mul_(2.0)
        return torch.autograd.grad(y.sum(), module.weight_hh_l0)

    if batch_first:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            gradient(ours)
    else:
        assert_same(gradient(ours), gradient(theirs))
    changed = x.clone()
    y = ours(changed)[0]
    changed.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_sign_that_pytorch_has_put_off():
    """Imaginary parts of conjugates, as inputs and as gradients of a complex spectrum: a flag of the tensor negates."""
    inputs = torch.complex(normal(6, 4, 5), normal(6, 4, 5, seed=1)).conj().imag
    assert inputs.is_neg()
    grads = torch.complex(normal(6, 4, 7), normal(6, 4, 7, seed=1)).conj()

    def gradients(module):
        y = module(inputs)[0]
        spectrum = torch.complex(torch.zeros_like(y), y)
        return torch.autograd.grad(spectrum, list(module.parameters()), grads)

    theirs, ours = pair(5, 7)
    assert_same(gradients(ours), gradients(theirs))


def test_empty_batches():
    module = rgru.torch.GRU(5, 7, 2, bidirectional=True)
    x = torch.zeros(6, 0, 5, requires_grad=True)
    y, h_n = module(x)
    assert (y.shape, h_n.shape) == ((6, 0, 14), (4, 0, 7))
    (y.sum() + h_n.sum()).backward()
    assert (x.grad.shape, module.weight_hh_l1.grad.abs().sum().item()) == (x.shape, 0.0)


def test_bad_input():
    module, cell = rgru.torch.GRU(5, 7), rgru.torch.GRUCell(5, 7)

    def refuse(error, match, call):
        with pytest.raises(error, match=match):
            call()

    refuse(TypeError, "proj_size", lambda: rgru.torch.GRU(5, 7, proj_size=3))
    refuse(ValueError, r"dropout: expected less than 1, got 1\.0", lambda: rgru.torch.GRU(5, 7, 2, dropout=1.0))
    refuse(TypeError, "reset_after: expected", lambda: rgru.torch.GRU(5, 7, reset_after=1))
    refuse(TypeError, "reset_after: expected", lambda: rgru.torch.GRUCell(5, 7, reset_after=None))
    refuse(ValueError, r"RNN input dtype \(torch\.float64\)", lambda: module(normal(6, 4, 5)))
    half = torch.zeros(1, 4, 7, dtype=torch.float16)
    refuse(
        ValueError,
        r"expected one dtype, got torch\.float32 and torch\.float16",
        lambda: module(torch.zeros(6, 4, 5), half),
    )
    refuse(ValueError, r"expected one dtype", lambda: cell(normal(4, 5)))
    refuse(RuntimeError, r"Expected hidden size", lambda: module(torch.zeros(6, 4, 5), torch.zeros(1, 3, 7)))
    refuse(RuntimeError, r"hx should also be 3-D", lambda: module(torch.zeros(6, 4, 5), torch.zeros(1, 7)))
    refuse(ValueError, r"Expected input to be 2D or 3D, got 1D", lambda: module(torch.zeros(5)))
    refuse(
        RuntimeError,
        r"hx should also be 2-D but got 1-D",
        lambda: cell(torch.zeros(4, 5), torch.zeros(7)),
    )
    mixed = rgru.torch.GRU(5, 7)
    mixed.bias_hh_l0 = torch.nn.Parameter(mixed.bias_hh_l0.double())
    refuse(ValueError, r"weights: expected one floating-point type", lambda: mixed(torch.zeros(6, 4, 5)))
    meta = rgru.torch.GRU(5, 7, device="meta")
    assert meta(torch.zeros(6, 4, 5, device="meta"))[0].shape == (6, 4, 7)
    refuse(TypeError, "source: expected the forward of torch.nn.GRUCell", lambda: rgru.from_torch(cell))
    options = rgru.GRU(5, 7, clip=1.0)
    refuse(
        ValueError,
        r"gru: expected clip=None, since torch\.nn\.GRU has no such",
        lambda: rgru.torch.GRU.from_rgru(options),
    )
