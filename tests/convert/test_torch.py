"""PyTorch itself, where it is installed: conversion of modules in both directions, and equal outputs."""

from pathlib import Path

import numpy as np
import pytest

import rgru
from guides import run_python, sections

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

from rgru.convert.torch import from_state_dict, from_torch, to_torch  # noqa: E402

X = np.random.default_rng(0).standard_normal((3, 6, 5))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_from_a_module(bias, bidirectional):
    module = torch.nn.GRU(
        5, 7, 2, bias=bias, bidirectional=bidirectional, dropout=0.25, batch_first=True, dtype=torch.float64
    )
    gru = from_torch(module)
    directions = ", bidirectional=True" if bidirectional else ""
    biases = "" if bias else ", bias=False"
    assert repr(gru) == f"GRU(5, 7, num_layers=2{directions}, reset_after=True{biases}, dropout=0.25, dtype='float64')"
    y, h_n = module.eval()(torch.from_numpy(X))
    np.testing.assert_allclose(gru(X)[0], y.detach().numpy(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(gru(X)[1], h_n.detach().numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [False, True])
def test_to_a_module_and_back(dtype, bias):
    gru = rgru.GRU(5, 7, 2, bidirectional=True, reset_after=True, bias=bias, dropout=0.25, dtype=dtype, seed=0)
    rng = np.random.default_rng(1)
    gru.params.update({name: rng.standard_normal(array.shape).astype(dtype) for name, array in gru.params.items()})
    module = gru.to_torch()
    assert module.batch_first
    back = rgru.from_torch(module)
    assert repr(back) == repr(gru)
    assert np.array_equal(back.params.flat, gru.params.flat)
    if dtype == "float64":
        y = module.eval()(torch.from_numpy(X))[0].detach().numpy()
        np.testing.assert_allclose(gru(X)[0], y, rtol=0, atol=1e-13)


def test_from_a_cell():
    cell = torch.nn.GRUCell(5, 7, dtype=torch.float64)
    y = cell(torch.from_numpy(X[:, 0])).detach().numpy()
    np.testing.assert_allclose(from_torch(cell)(X[:, :1])[0][:, 0], y, rtol=0, atol=1e-13)


def test_dropout_of_a_single_layer_becomes_zero():
    with pytest.warns(UserWarning, match="dropout"):
        module = torch.nn.GRU(5, 7, dropout=0.5)
    assert from_torch(module).dropout == 0.0


def test_a_module_is_copied():
    module = torch.nn.GRU(5, 7)
    gru = from_torch(module)
    before = gru.params.flat.copy()
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert np.array_equal(gru.params.flat, before)


class Overridden(torch.nn.GRU):
    def forward(self, x):
        return super().forward(x)[0]


class Plain(torch.nn.GRU):
    """A subclass with the computation of its base."""


def test_modules_other_than_plain_grus_are_refused():
    def refuse(error, match, module):
        with pytest.raises(error, match=match):
            from_torch(module)

    assert repr(from_torch(Plain(5, 7))) == "GRU(5, 7, reset_after=True)"
    refuse(TypeError, r"source: expected torch\.nn\.GRU.*got torch\.nn\.modules\.rnn\.LSTM", torch.nn.LSTM(5, 7))
    refuse(TypeError, r"source: expected the forward of torch\.nn\.GRU, got that of .*Overridden", Overridden(5, 7))
    patched = torch.nn.GRUCell(5, 7)
    patched.forward = lambda x: x
    refuse(TypeError, r"source: expected the forward of torch\.nn\.GRUCell", patched)
    for dtype in (torch.int8, torch.complex64):
        state = {name: tensor.detach().to(dtype) for name, tensor in torch.nn.GRU(5, 7).state_dict().items()}
        refuse(ValueError, f"weight_ih_l0: expected float32 or float64, got {dtype}", state)
    refuse(ValueError, r"weight_ih_l0: expected a tensor with data", torch.nn.GRU(5, 7, device="meta"))
    module = torch.nn.GRU(5, 7)
    module.register_parameter("weight_hr_l0", torch.nn.Parameter(torch.zeros(3, 7)))
    refuse(ValueError, r"state: expected .*weight_hr_l0", module)
    mixed = torch.nn.GRU(5, 7)
    mixed.bias_hh_l0 = torch.nn.Parameter(mixed.bias_hh_l0.double())
    refuse(TypeError, r"bias_hh_l0: expected float32, got float64", mixed)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_are_refused(register):
    """Outputs would be other ones than the module's."""
    module = torch.nn.GRU(5, 7)
    hook = getattr(module, register)(lambda *_: None)
    with pytest.raises(TypeError, match="source: expected no forward hooks"):
        from_torch(module)
    hook.remove()
    assert from_torch(module).hidden_size == 7


def test_a_prefix_of_the_names_is_named():
    state = {f"encoder.gru.{name}": tensor.numpy() for name, tensor in torch.nn.GRU(5, 7).state_dict().items()}
    with pytest.raises(ValueError, match=r"state: expected names without the prefix 'encoder\.gru\.'"):
        from_state_dict(state)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own deprecations
def test_changed_weights_are_refused():
    parametrised = torch.nn.utils.parametrizations.weight_norm(torch.nn.GRU(5, 7), "weight_hh_l0")
    with pytest.raises(ValueError, match=r"source: expected .*got parametrizations.*removed first"):
        from_torch(parametrised)
    from torch.nn.utils import prune

    pruned = prune.random_unstructured(torch.nn.GRU(5, 7), "weight_hh_l0", amount=0.5)
    with pytest.raises(ValueError, match=r"source: .*got weight_hh_l0_orig, weight_hh_l0_mask; .*removed first"):
        from_torch(pruned)
    prune.remove(pruned, "weight_hh_l0")
    assert (from_torch(pruned).params["layers.0.fwd.U"] == 0).mean() > 0.4
    layers = torch.nn.Sequential(torch.nn.GRU(5, 7))
    quantised = torch.ao.quantization.quantize_dynamic(layers, {torch.nn.GRU}, dtype=torch.qint8)[0]
    with pytest.raises(
        TypeError, match=r"source: expected torch\.nn\.GRU.*not quantised, got torch\.ao\.nn\.quantized"
    ):
        from_torch(quantised)
    with pytest.raises(ValueError, match=r"source: expected .*got 0\._all_weight_values.*removed first"):
        from_torch(torch.ao.quantization.quantize_dynamic(layers, {torch.nn.GRU}, dtype=torch.qint8).state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype):
    module = torch.nn.GRU(5, 7, dtype=dtype)
    expected = from_torch(torch.nn.GRU(5, 7))
    gru = from_torch(module)
    assert repr(gru) == repr(expected)
    assert np.array_equal(gru.params["layers.0.fwd.W"][:7], module.weight_ih_l0[:7].detach().float().numpy())


class Translator(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.ModuleDict({"gru": torch.nn.GRU(5, 7, 2, bidirectional=True, dropout=0.5)})
        self.lstm = torch.nn.LSTM(5, 7)
        self.head = torch.nn.Linear(7, 2)


def test_a_gru_within_a_module():
    module = Translator()
    expected = from_torch(module.encoder["gru"])
    for source, prefix in ((module, "encoder.gru"), (module, "encoder.gru."), (module.encoder, "gru")):
        gru = from_torch(source, prefix)
        assert repr(gru) == repr(expected)
        assert np.array_equal(gru.params.flat, expected.params.flat)
    with pytest.raises(ValueError, match=r"^prefix: expected one of 'encoder\.gru\.', got 'lstm'"):
        from_torch(module, "lstm")
    module.decoder = torch.nn.GRU(5, 7)
    with pytest.raises(ValueError, match=r"^prefix: expected one of 'decoder\.', 'encoder\.gru\.', got ''"):
        from_torch(module.state_dict())
    module.encoder["gru"] = Overridden(5, 7)
    with pytest.raises(TypeError, match=r"^source: expected the forward of torch\.nn\.GRU"):
        from_torch(module, "encoder.gru")
    assert from_torch(module, "decoder").hidden_size == 7
    own = torch.nn.ParameterDict({"e_w_ih": torch.zeros(21, 5), "e_w_hh": torch.zeros(21, 7)})
    with pytest.raises(TypeError, match=r"^source: expected torch\.nn\.GRU or torch\.nn\.GRUCell, got"):
        from_torch(torch.nn.ModuleList([own, torch.nn.GRU(5, 7)]), "0.e_")
    assert from_torch(own.state_dict(), "e_").hidden_size == 7


def test_a_stack_of_cells():
    """Numbered cells become layers; PyTorch itself runs them one after the other."""
    cells = torch.nn.ModuleList([torch.nn.GRUCell(5, 7), torch.nn.GRUCell(7, 7), torch.nn.GRUCell(7, 7)]).double()
    module = torch.nn.ModuleDict({"cells": cells})
    states = [torch.zeros(3, 7, dtype=torch.float64) for _ in cells]
    outputs = []
    with torch.no_grad():
        for t in range(X.shape[1]):
            y = torch.from_numpy(X[:, t])
            for k, cell in enumerate(cells):
                y = states[k] = cell(y, states[k])
            outputs.append(y.numpy())
    for source, prefix in ((module, "cells"), (module.state_dict(), "cells"), (cells, "")):
        gru = from_torch(source, prefix)
        assert gru.num_layers == 3
        np.testing.assert_allclose(gru(X)[0], np.stack(outputs, 1), rtol=0, atol=1e-13)
    assert from_torch(module, "cells.1").num_layers == 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["state", "parameters", "checkpoint"])
def test_files_of_torch_save(tmp_path, kind, protocol):
    """Read without PyTorch, also where weights share a storage and lie in it transposed, as PyTorch leaves them."""
    module = Translator()
    with torch.no_grad():
        gru = module.encoder["gru"]
        gru.weight_hh_l0.set_(torch.randn(7, 21).T)
        gru.bias_ih_l0.set_(torch.randn(50)[4:46:2])
    expected = from_torch(gru)
    content = {
        "state": module.state_dict(),
        "parameters": dict(module.named_parameters()),
        "checkpoint": {"epoch": 3, "loss": [0.5, None, True], "model": module.state_dict(), "best": {"at": (1, 2)}},
    }[kind]
    torch.save(content, tmp_path / "model.pt", pickle_protocol=protocol)
    found = from_torch(tmp_path / "model.pt")
    assert np.array_equal(found.params.flat, expected.params.flat)
    assert np.array_equal(from_torch(content).params.flat, expected.params.flat)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own deprecations
def test_files_that_are_more_than_a_state_dict(tmp_path):
    path = tmp_path / "model.pt"

    def refuse(match):
        with pytest.raises(ValueError, match=rf"^{path}: expected .*{match}"):
            from_torch(path)

    torch.save(torch.nn.GRU(5, 7), path)
    refuse(r"torch\.nn\.modules\.rnn\.GRU, which is not read; save a state dict alone")
    torch.save(torch.nn.GRU(5, 7).state_dict(), path, _use_new_zipfile_serialization=False)
    refuse(r"archive of torch\.save, got another file; torch\.save\(torch\.load")
    torch.jit.script(torch.nn.GRU(5, 7)).save(path)
    refuse(r"TorchScript module; save its state_dict")
    quantised = torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)
    torch.save({"weight_hh_l0": quantised}, path)
    refuse(r"torch\._utils\._rebuild_qtensor, which is not read")


def test_the_other_cell_cannot_be_exported():
    with pytest.raises(ValueError, match=r"gru: expected reset_after=True.*to_arrays.*to_weights"):
        to_torch(rgru.GRU(5, 7))


def test_the_readme(tmp_path):
    readme = Path(__file__).parents[2] / "README.md"
    run_python(sections(readme.read_text("utf-8"))["Have a model?"], tmp_path, "-W", "error")
