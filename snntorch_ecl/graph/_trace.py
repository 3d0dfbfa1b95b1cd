"""Trace a copy of a network into a graph; the user's model is never changed."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.fx import GraphModule, Node, Proxy, Tracer
from torch.nn.parameter import is_lazy

from .._util.torch_internals import call_with_hooks, copy_hooks, has_hooks
from ..errors import EclError, TraceError
from ._wrappers import inside, refuse_hidden, wrappers_in


class _Proxy(Proxy):
    """Records ``x += y`` as in-place addition; fx would record ``x + y``, which writes nothing."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})

    def __ifloordiv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.ifloordiv, (self, other), {})

    def __ipow__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.ipow, (self, other), {})

    def __imod__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imod, (self, other), {})


class _LeafTracer(Tracer):
    """Does not look into ``torch.nn``'s modules and the given types; remembers its place."""

    def __init__(self, leaves: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self.leaves = leaves
        self.path: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: Node) -> Proxy:
        return _Proxy(node, self)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Placeholders for arguments without a default; the others are fixed at theirs."""
        args: list[Any] = [self.root]
        keywords = {}
        for p in inspect.signature(self.root.forward).parameters.values():
            if p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            proxy = self.create_proxy("placeholder", p.name, (), {})
            if p.kind is p.KEYWORD_ONLY:
                keywords[p.name] = proxy
            else:
                args.append(proxy)
        if has_hooks(self.root):
            # As in a normal call: what the hooks do becomes part of the graph.
            root_fn = call_with_hooks(self.root)

        def root(*given: Any) -> Any:
            return root_fn(*given, **keywords)

        root.__annotations__ = {}  # the tracer would write them into the graph, as text
        return root, args

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self.path.append(f"{self.path_of_module(m)!r} ({type(m).__name__})")
        result = super().call_module(m, forward, args, kwargs)
        self.path.pop()  # not in a finally: after an error, the path says where it happened
        return result


def trace(
    model: nn.Module, leaves: Iterable[type[nn.Module]] = (), *, training: bool | None = None
) -> GraphModule:
    """Record a network as a graph of module calls and functions, on a copy of it.

    Submodules and parameters keep their names; ``leaves`` are types that are not looked into.
    Arguments of ``forward`` with a default are fixed at it. Code that depends on ``self.training``
    is recorded for the given mode; None leaves each module in its current mode.
    """
    model = inside(model)
    lazy = [n for n, m in model.named_modules() if any(map(is_lazy, m.parameters(recurse=False)))]
    if lazy:
        raise TraceError(
            f"{type(model).__name__} has layers that have no weights yet ({', '.join(lazy)}): run "
            "one batch through it first"
        )
    leaves = tuple(leaves)
    try:
        root = copied(model, leaves)
    except EclError:
        raise
    except Exception as error:
        raise TraceError(f"{type(model).__name__} cannot be copied: {_remedy(error)}") from error
    if training is not None:
        root.train(training)
    tracer = _LeafTracer(leaves)
    try:
        graph = tracer.trace(root)
    except Exception as error:
        where = tracer.path[-1] if tracer.path else f"the top level ({type(model).__name__})"
        raise TraceError(
            f"tracing stopped in {where}: {error}\n"
            "Its code branches or loops on the data, which a fixed graph cannot hold. Write it "
            "without that, or pass the type in `leaf_modules=` and tell how it converts with "
            "`ecl.register(Type)(handler)`."
            + (
                " Hooks of the whole network are traced too: remove those that only observe."
                if has_hooks(root)
                else ""
            )
        ) from error
    gm = GraphModule(root, graph, type(model).__name__)
    modes = {name: module.training for name, module in root.named_modules(remove_duplicate=False)}
    for name, module in gm.named_modules():
        module.training = modes[name]
    _positional(gm)
    return finish(gm)


def copied(model: nn.Module, known: tuple[type[nn.Module], ...] = ()) -> nn.Module:
    """A deep copy with its hooks, which ``copy.deepcopy`` drops for graph modules.

    Compiled and parallel modules, of which torch makes no working copy, are replaced by what is
    inside them. ``known`` types may hide layers.
    """
    model = inside(model)
    refuse_hidden(model, known)
    memo: dict[int, Any] = {}
    wrappers = wrappers_in(model)
    for wrapper in reversed(wrappers):  # the innermost first
        memo[id(wrapper)] = copy.deepcopy(inside(wrapper), memo)
    twin = copy.deepcopy(model, memo)
    own_modules = (module for module in model.modules() if module not in wrappers)
    for own, copied_module in zip(own_modules, twin.modules(), strict=True):
        if isinstance(own, GraphModule):
            copy_hooks(own, copied_module)
    return twin


def _positional(gm: GraphModule) -> None:
    """Make layers that are called by keyword, ``relu(input=x)``, be called by position."""
    for node in gm.graph.nodes:
        if node.op == "call_module" and node.kwargs:
            forward = gm.get_submodule(str(node.target)).forward
            bound = inspect.signature(forward).bind(*node.args, **node.kwargs)
            node.args, node.kwargs = bound.args, bound.kwargs


def finish(gm: GraphModule) -> GraphModule:
    """Check a changed graph and generate its code again; every pass ends with this."""
    gm.graph.lint()
    gm.recompile()
    return gm


def _remedy(error: Exception) -> str:
    """What to do about a network that cannot be copied, by torch's error."""
    text = str(error)
    if "graph leaves" in text:
        return (
            "it holds a tensor computed from its parameters, as old-style weight norm and pruning "
            "leave it. Make it permanent (torch.nn.utils.remove_weight_norm, prune.remove), or use "
            f"torch.nn.utils.parametrizations. ({text})"
        )
    return text
