"""What the `forward` of a module of PyTorch does, as nodes of torch.fx."""

from __future__ import annotations

import inspect
import math
import operator
from typing import Any

from rgru.convert._torch_values import cannot

_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


def traced(module: Any) -> list[Any]:
    """Return the nodes that the outputs of a module depend on, and its inputs, in the order of their use.

    Arguments that have defaults have these, so that ``if h0 is None`` is decided.

    Raises
    ------
    TypeError
        If torch.fx cannot follow the forward, or there are hooks.
    ValueError
        If an operation in place changes a value that something else reads, too.
    """
    hooked = [name for name, part in module.named_modules() if part._forward_hooks or part._forward_pre_hooks]
    if hooked:
        raise TypeError(f"source: expected no forward hooks, which may change numbers, got some at {hooked[0]!r}")
    try:
        _, *others = inspect.signature(module.forward).parameters.values()
        defaults = {one.name: one.default for one in others if one.default is not one.empty}
        graph = _tracer().trace(module, concrete_args=defaults or None)
    except Exception as error:  # whatever the module's code raises when it is given no tensors
        raise TypeError(
            f"source: expected a module whose forward torch.fx can follow, got {type(module).__name__} ({error})"
        ) from error
    needed: set[Any] = set()
    for node in reversed(graph.nodes):
        _check_in_place(module, node)
        if node.op in ("output", "placeholder") or needed & node.users.keys():
            needed.add(node)
    return [node for node in graph.nodes if node in needed]


def _tracer() -> Any:
    """Return a tracer that does not look into GRUs, also of subclasses, nor into the packing of sequences.

    It sees ``x *= 2`` as what it is, since that may change another value.
    """
    from torch import fx, nn

    class Proxy(fx.Proxy):  # type: ignore[misc]
        pass

    def in_place(function: Any) -> Any:
        return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})

    for function in _IN_PLACE:
        setattr(Proxy, f"__{function.__name__}__", in_place(function))

    class Tracer(fx.Tracer):  # type: ignore[misc]
        def proxy(self, node: Any) -> Any:
            return Proxy(node, self)

        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            return isinstance(m, nn.GRU) or bool(super().is_leaf_module(m, module_qualified_name))

    return Tracer(autowrap_modules=(math, nn.utils.rnn))


def _check_in_place(module: Any, node: Any) -> None:
    """Refuse an operation in place on a value, or on a view of a value, that something else reads, too."""
    part = module.get_submodule(node.target) if node.op == "call_module" else None
    if not (part.__dict__.get("inplace") if part is not None else node.kwargs.get("inplace") or _is_in_place(node)):
        return
    changed, alone = node.args[0], bool(node.users)
    while changed.op in ("call_function", "call_method") and changed.args:
        alone &= len(changed.users) == 1
        changed = changed.args[0]
        if not hasattr(changed, "users"):
            break
    outputs = changed.op == "call_module" and type(module.get_submodule(changed.target)).__name__ == "GRU"
    if not alone or (len(changed.users) > 1 and not outputs):  # outputs and states of a GRU share no memory
        raise cannot(node, "an operation in place on a value that is read elsewhere")


def _is_in_place(node: Any) -> bool:
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    named = name.endswith("_") and not name.endswith("__") and name not in ("requires_grad_", "detach_")
    return named or node.target in _IN_PLACE
