"""The operators: PyTorch's checks, compilers, exports and transforms take them, and tapes live as long as needed."""

import gc
import io
import weakref

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

import rgru.torch  # noqa: E402
from rgru.torch import _ops, _tapes  # noqa: E402

DOUBLE = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def inputs(form, *, gradients=True):
    """x, h0, batch_sizes, seed, weights, and the settings, of two layers with two directions, or of a cell."""
    if form == "one step":
        weights = [weight.detach() for weight in rgru.torch.GRUCell(5, 7, dtype=DOUBLE).parameters()]
        tensors = [tensor.requires_grad_(gradients) for tensor in (normal(4, 5), normal(4, 7), *weights)]
        return tensors[0], tensors[1], None, None, tensors[2:], True, False, True, True, 0.0
    module = rgru.torch.GRU(5, 7, 2, bidirectional=True, dtype=DOUBLE)
    x = normal(9, 5) if form == "packed" else normal(3, 4, 5)
    h0 = None if form == "batch first" else normal(4, 3 if form == "packed" else 4, 7)
    sizes = torch.tensor([3, 3, 2, 1]) if form == "packed" else None
    tensors = [tensor if tensor is None else tensor.requires_grad_(gradients) for tensor in (x, h0)]
    weights = [weight.detach().requires_grad_(gradients) for weight in module.parameters()]
    seed = torch.tensor(5) if form == "dropout" else None
    return *tensors, sizes, seed, weights, True, True, True, form == "batch first", 0.5 if seed is not None else 0.0


FORMS = ["batch first", "time first", "packed", "one step", "dropout"]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # by PyTorch itself
@pytest.mark.parametrize("form", FORMS)
def test_opcheck(form):
    torch.library.opcheck(torch.ops.rgru.gru.default, (*inputs(form), True))
    arguments = inputs(form, gradients=False)
    torch.library.opcheck(torch.ops.rgru.gru.default, (*arguments, False))
    y, h_n, tape = torch.ops.rgru.gru(*arguments, True)
    torch.library.opcheck(torch.ops.rgru.gru_backward.default, (y, h_n, y, tape, *arguments))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_agree_with_differences_and_with_the_operator(form):
    x, h0, sizes, seed, weights, *settings = inputs(form)
    leaves = [leaf for leaf in (x, h0, *weights) if leaf is not None]

    def run(operator):
        def call(*values):
            values = list(values)
            states = None if h0 is None else values.pop(1)
            return operator(values[0], states, sizes, seed, values[1:], *settings, True)[:2]

        return call

    def plain(x, h0, sizes, seed, weights, *settings):
        return _ops._Recorded.apply(_ops._Settings(*settings[:5]), x, h0, sizes, seed, *weights)

    assert torch.autograd.gradcheck(run(plain), leaves)
    outputs = [run(operator)(*leaves) for operator in (plain, torch.ops.rgru.gru)]
    gradients = [torch.autograd.grad((y.sin().sum() + h_n.cos().sum()), leaves) for y, h_n in outputs]
    for one, other in zip((*outputs[0], *gradients[0]), (*outputs[1], *gradients[1]), strict=True):
        assert torch.equal(one, other)


def test_second_derivatives_are_refused():
    module, x = rgru.torch.GRU(5, 7, dtype=DOUBLE), normal(3, 4, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"rgru\.torch: expected first derivatives only"):
        gradient.sum().backward()


class Model(torch.nn.Module):
    """The output of the GRU is needed by its backward pass, and changed in place after it."""

    def __init__(self, **options):
        super().__init__()
        self.gru = rgru.torch.GRU(5, 7, 2, bidirectional=True, **options)
        self.cell = rgru.torch.GRUCell(14, 7)
        self.head = torch.nn.Linear(7, 3)

    def forward(self, x):
        y, h_n = self.gru(torch.tanh(x))
        time = y.relu().sum(1 if self.gru.batch_first else 0)
        return self.head(self.cell(time, h_n[-1]))


def gradients(model, x, run):
    model.zero_grad()
    y = run(x)
    y.square().sum().backward()
    return [y, *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compile_without_a_break(backend, batch_first):
    torch._dynamo.reset()
    model = Model(batch_first=batch_first)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for shape in ((4, 4, 5), (6, 6, 5), (9, 9, 5)):  # from the second on sizes are symbols
        x = torch.randn(shape)
        for one, other in zip(gradients(model, x, compiled), gradients(model, x, model), strict=True):
            torch.testing.assert_close(one, other)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("sorted_", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_compile_with_a_packed_sequence(sorted_):
    torch._dynamo.reset()
    model = rgru.torch.GRU(5, 7, 2, bidirectional=True)
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(n, 5) for n in (4, 3, 1)], enforce_sorted=sorted_)
    y, h_n = torch.compile(model, fullgraph=True, backend="aot_eager")(packed)
    expected = model(packed)
    assert torch.equal(y.data, expected[0].data)
    assert torch.equal(h_n, expected[1])
    (y.data.sum() + h_n.sum()).backward()


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated
def test_a_trace_has_the_operator():
    model, x = rgru.torch.GRU(5, 7), torch.randn(6, 4, 5)
    traced = torch.jit.trace(model, (torch.randn(3, 2, 5),))
    assert torch.equal(traced(x)[0], model(x)[0])


@pytest.mark.filterwarnings("ignore")
def test_compiled_dropout_draws_new_masks():
    torch._dynamo.reset()
    model = rgru.torch.GRU(5, 7, 2, dropout=0.5)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 4, 5)
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    model.eval()
    assert torch.equal(compiled(x)[0], model(x)[0])


@pytest.mark.filterwarnings("ignore")
def test_export():
    model, x = Model(), torch.randn(6, 4, 5)
    time, batch = (torch.export.Dim(name, min=2, max=100) for name in ("time", "batch"))
    exported = torch.export.export(model, (x,), dynamic_shapes={"x": {0: time, 1: batch}})
    names = [str(node.target) for node in exported.graph.nodes]
    assert names.count("rgru.gru.default") == 2
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(x), exported.module()(x))
    other = torch.randn(9, 7, 5)
    torch.testing.assert_close(exported.module()(other), model(other))
    for one, other in zip(gradients(model, x, exported.module()), gradients(model, x, model), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.filterwarnings("ignore")  # by PyTorch itself
def test_transforms_are_refused():
    module, x = rgru.torch.GRU(5, 7, dtype=DOUBLE), normal(3, 4, 5)
    for transform in (torch.func.grad, torch.func.vmap):
        with pytest.raises(NotImplementedError, match=r"rgru\.torch: expected no transform of torch\.func"):
            transform(lambda x: module(x)[0].sum())(x)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        with pytest.raises(NotImplementedError, match="forward mode"):
            module(dual)


def test_tapes_die_with_the_graph():
    module, x = rgru.torch.GRU(5, 7, dtype=DOUBLE), normal(3, 4, 5)

    def alive():
        gc.collect()
        return len(_tapes._handles)

    before = alive()
    y, h_n = module(x)
    assert alive() == before + 1
    y.sum().backward()
    assert alive() == before
    y, h_n = module(x)
    y.sum().backward(retain_graph=True)
    first = module.weight_hh_l0.grad.clone()
    y.sum().backward()  # a tape serves more than once
    torch.testing.assert_close(module.weight_hh_l0.grad, 3 / 2 * first)
    y, h_n = module(x)
    assert alive() == before + 1
    del y, h_n  # without a backward pass
    assert alive() == before


def test_checkpoints_drop_the_tape_and_a_copied_one_is_made_again():
    module, x = rgru.torch.GRU(5, 7, 2, dropout=0.5, dtype=DOUBLE), normal(3, 4, 5).requires_grad_()

    def gradients(run):
        torch.manual_seed(1)
        return torch.autograd.grad(run(x).sum(), [x, *module.parameters()])

    def plain(x):
        return module(x)[0]

    expected = gradients(plain)
    before = len(_tapes._handles)

    def checkpointed(x):
        y = torch.utils.checkpoint.checkpoint(plain, x, use_reentrant=False)
        gc.collect()
        assert len(_tapes._handles) == before
        return y

    def copied(x):
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor):
            return plain(x)

    for run in (checkpointed, copied):
        for one, other in zip(gradients(run), expected, strict=True):
            assert torch.equal(one, other)


def test_a_handle_is_no_handle_of_another_tape():
    """Addresses are used again, so a copy must not find the tape of a later run."""

    class Tape:
        pass

    tape = Tape()
    handle, watched = _tapes.as_handle(tape), weakref.ref(tape)
    copy = handle.clone()
    assert _tapes.tape_of(handle) is tape
    assert _tapes.tape_of(copy) is None
    del tape, handle
    assert watched() is None
    later = [_tapes.as_handle(Tape()) for _ in range(100)]
    assert len({_tapes.tape_of(one) for one in later}) == 100
    assert _tapes.tape_of(copy) is None
    assert _tapes.tape_of(torch.empty(0, dtype=torch.uint8)) is None
