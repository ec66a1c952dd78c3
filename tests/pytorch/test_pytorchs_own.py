"""PyTorch's own tests of its GRU: the samples, references and errors of `module_db`, which its wheel has.

The wheel has no test cases, only what they are made of; here are those of PyTorch's ``test/test_modules.py``.
Exceptions:

- ``test_gradgrad``: there are no second derivatives, and `test_ops.py` checks that they are refused.
- ``test_cpu_gpu_parity``, ``test_to``, ``test_memory_format`` need another device, or a memory format that a GRU lacks.
"""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.testing._internal.common_modules")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

from torch.testing._internal import common_modules  # noqa: E402

import rgru.torch  # noqa: E402

PAIRS = {torch.nn.GRU: rgru.torch.GRU, torch.nn.GRUCell: rgru.torch.GRUCell}
INFOS = [info for info in common_modules.module_db if info.module_cls in PAIRS]
INFOS = [pytest.param(info, id=info.name) for info in INFOS]
TYPES = [torch.float32, torch.float64]


def samples(info, dtype=torch.float64, training=True, **options):
    """Pairs of a sample, and our module for it."""
    function, options = info.module_inputs_func, {"requires_grad": True, "training": training, **options}
    found = function(info, device="cpu", dtype=dtype, **options)
    assert len(found) >= 2
    for one in found:
        torch.manual_seed(0)
        module = PAIRS[info.module_cls](*one.constructor_input.args, **one.constructor_input.kwargs).to(dtype)
        yield one, module.train(training)


def packed(info):
    return {"with_packed_sequence": True} if info.module_cls is torch.nn.GRU else {}


def tensors(value):
    """All tensors with gradients in an output or in the inputs."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return [value.data]
    return [tensor for one in value for tensor in tensors(one)]


def run(module, sample):
    return module(*sample.forward_input.args, **sample.forward_input.kwargs)


def test_there_are_both():
    assert {param.values[0].module_cls for param in INFOS} == set(PAIRS)


@pytest.mark.parametrize("info", INFOS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("training", [False, True])
def test_forward(info, dtype, training):
    for sample, module in samples(info, dtype, training):
        expected = sample.reference_fn(module, *sample.forward_input.args, **sample.forward_input.kwargs)
        torch.testing.assert_close(tensors(run(module, sample)), tensors(expected))


@pytest.mark.parametrize("info", INFOS)
def test_the_same_as_pytorch(info):
    for sample, module in samples(info, **packed(info)):
        theirs = rgru.torch.revert(copy.deepcopy(module))
        torch.testing.assert_close(tensors(run(module, sample)), tensors(run(theirs, sample)))


@pytest.mark.parametrize("info", INFOS)
@pytest.mark.parametrize("dtype", TYPES)
def test_factory_kwargs(info, dtype):
    for sample, _ in samples(info):
        arguments = sample.constructor_input
        module = PAIRS[info.module_cls](*arguments.args, **arguments.kwargs, device="meta", dtype=dtype)
        assert {(one.dtype, one.device.type) for one in module.parameters()} == {(dtype, "meta")}


@pytest.mark.parametrize("info", INFOS)
def test_repr_pickle_and_copies(info):
    for sample, module in samples(info, **packed(info)):
        assert repr(module) == str(module)
        for other in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), copy.copy(module)):
            torch.testing.assert_close(tensors(run(other, sample)), tensors(run(module, sample)))


@pytest.mark.parametrize("info", INFOS)
def test_inputs_stay_as_they_are(info):
    for sample, module in samples(info, **packed(info)):
        before = copy.deepcopy([one.detach() for one in tensors(sample.forward_input.args)])
        run(module, sample)
        torch.testing.assert_close([one.detach() for one in tensors(sample.forward_input.args)], before, rtol=0, atol=0)


@pytest.mark.parametrize("info", INFOS)
def test_non_contiguous_tensors(info):
    """Inputs, parameters and gradients that are every second number of a tensor."""

    def spread(tensor):
        wide = torch.stack([tensor.detach(), torch.full_like(tensor, float("nan"))], dim=-1)
        return wide[..., 0].requires_grad_()

    for sample, module in samples(info):
        inputs = sample.forward_input.args
        other = copy.deepcopy(module)
        for name, parameter in module.named_parameters():
            other._parameters[name] = torch.nn.Parameter(spread(parameter))
        wide = [spread(one) for one in inputs]
        results = []
        for one, arguments in ((module, inputs), (other, wide)):
            outputs = tensors(one(*arguments))
            directions = [
                spread(torch.ones_like(output)) if one is other else torch.ones_like(output) for output in outputs
            ]
            results.append(outputs + list(torch.autograd.grad(outputs, [*arguments, *one.parameters()], directions)))
        torch.testing.assert_close(*results)


@pytest.mark.parametrize("info", INFOS)
def test_grad(info):
    for sample, module in samples(info):
        inputs = tensors(sample.forward_input.args)

        def call(*leaves, inputs=inputs, module=module):
            return tuple(tensors(module(*leaves[: len(inputs)])))

        assert torch.autograd.gradcheck(call, [*inputs, *module.parameters()])


@pytest.mark.parametrize("info", INFOS)
@pytest.mark.parametrize("dtype", TYPES)
def test_errors(info, dtype):
    """Their types and words, too."""
    found = info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=True)
    assert len(found) >= 5
    for one in found:
        arguments, forward = one.module_error_input.constructor_input, one.module_error_input.forward_input
        construct = lambda arguments=arguments: PAIRS[info.module_cls](*arguments.args, **arguments.kwargs)  # noqa: E731
        if one.error_on is common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(one.error_type, match=one.error_regex):
                construct()
        else:
            module = construct().to(arguments.kwargs.get("dtype", dtype))
            with pytest.raises(one.error_type, match=one.error_regex):
                module(*forward.args, **forward.kwargs)
