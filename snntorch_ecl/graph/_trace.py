"""Trace a copy of a network into a graph; the user's model is never changed."""

from __future__ import annotations

import copy
import inspect
import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.fx import Graph, GraphModule, Node, Proxy, Tracer

from .._util.checks import check_module
from .._util.devices import device_of
from .._util.torch_internals import as_if_jit_traced, call_with_hooks, copy_hooks, has_hooks
from ..errors import EclError, TraceError
from ._advice import COUNTS_IMAGES, UnknownNumberError, advice, uncopied
from ._example import Example
from ._lines import line_of_error, line_of_frame
from ._norms import expand_norms
from ._opaque import filled, is_wrapped, refuse_lazy, taking_recorded_values, unmarked
from ._plain import plain_layers
from ._proxy import Recorded, Sizes, is_shape
from ._registry import is_looked_into
from ._shapes import UNKNOWN, Shapes, counts_batch
from ._wrappers import inside, refuse_hidden, wrappers_in


class _LeafTracer(Tracer):
    """Does not look into ``torch.nn``'s modules and the given types; remembers its place."""

    def __init__(
        self, leaves: tuple[type[nn.Module], ...] = (), example: Example | None = None
    ) -> None:
        super().__init__()
        self.leaves, self.example = leaves, example
        self.path: list[str] = []
        self.behind: dict[int, list[nn.Module]] = {}  # what runs after a norm, by its id
        self.shapes: Shapes | None = None
        # The code may use buffers together with the batch's size, which is recorded.
        self.proxy_buffer_attributes = example is not None

    def knows_shapes(self) -> bool:
        """Whether the network's code runs, with the shapes of an example."""
        return self.shapes is not None and not self.shapes.running

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m) not in self.leaves and is_looked_into(type(m)):
            return False
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: Node) -> Proxy:
        return Recorded(node, self)

    def create_arg(self, a: Any) -> Any:
        return a.node if isinstance(a, Proxy) else super().create_arg(a)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Placeholders for the example's inputs; others are fixed at their default.

        Without an example, the inputs are the arguments without a default.
        """
        example = self.example
        if example is not None:
            self.shapes = Shapes(self.root, device_of(self.root))
        args: list[Any] = [self.root]
        keywords = {}
        by_name = False  # an argument before was left at its default
        for p in inspect.signature(self.root.forward).parameters.values():
            variable = p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            if variable or (p.name not in example.shapes if example else p.default is not p.empty):
                by_name = True
                continue
            proxy = self.create_proxy("placeholder", p.name, (), {})
            if self.shapes is not None and example is not None:
                self.shapes.begin(proxy.node, example.shapes[p.name], example.dtypes[p.name])
            if p.kind is p.KEYWORD_ONLY or by_name:
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

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> Any:
        """Record a call. Sizes other than the batch's are returned as numbers."""
        if self.knows_shapes() and is_wrapped(kind, target):
            return target(*args[0], **args[1])
        proxy = super().create_proxy(kind, target, *args, **kwargs)
        node = proxy.node
        node.meta["line"] = line_of_frame(sys._getframe(1))
        if self.shapes is None:
            return proxy
        value = self.shapes.follow(node)
        found: Any = proxy
        if is_shape(value):
            tensor = self.proxy(node.all_input_nodes[0])
            found = Sizes(self._size(tensor, *entry) for entry in enumerate(value))
        elif self.shapes.is_constant(node, value):
            self.shapes.fixed |= target not in ("dim", "ndimension") and "ndim" not in node.args
            found = value
        elif value is None and target is operator.getitem:  # a part that is not there
            found = None
        elif (made := filled(node, value, device_of(self.root))) is not None:
            found = made
        if found is not proxy:
            self.graph.erase_node(node)
        return found

    def _size(self, tensor: Proxy, place: int, size: int) -> Any:
        """One entry of a shape: a number, or the batch's size as it will be."""
        assert self.shapes is not None
        if counts_batch(size):
            return self.create_proxy("call_method", "size", (tensor, place), {})
        self.shapes.fixed = True
        return size

    def number(self, obj: Any) -> Any:
        """The number that code asks for; it may not depend on data or on the batch's size."""
        raise UnknownNumberError(
            COUNTS_IMAGES
            if isinstance(obj.known, (int, float))
            else "it turns a tensor's value into a number"
        )

    def to_bool(self, obj: Proxy) -> bool:
        """The truth of a value: known if it compares the batch's size with itself."""
        known = getattr(obj, "known", None)
        expected: dict[Any, bool] = {operator.eq: True, operator.ne: False}
        same = expected.get(obj.node.target)
        if isinstance(known, bool) and known is same:
            return known
        return super().to_bool(obj)

    def iter(self, obj: Proxy) -> Any:
        """The parts of a value, if their number is known."""
        if self.shapes is None or self.shapes.value(obj.node) is UNKNOWN:
            return super().iter(obj)
        return iter([obj[place] for place in range(len(obj))])  # type: ignore[index]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Parameters and buffers are recorded, but not while a call is being tried."""
        if self.shapes is not None and self.shapes.running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self.shapes is not None and self.shapes.running:
            return forward(*args, **kwargs)
        self.path.append(f"{self.path_of_module(m)!r} ({type(m).__name__})")
        result = super().call_module(m, forward, args, kwargs)
        for layer in self.behind.get(id(m), ()):
            result = layer(result)
        self.path.pop()  # not in a finally: after an error, the path says where it happened
        return result


def trace(
    model: nn.Module,
    leaves: Iterable[type[nn.Module]] = (),
    *,
    training: bool | None = None,
    example: Example | None = None,
) -> GraphModule:
    """Record a network as a graph of module calls and functions, on a copy of it.

    Submodules and parameters keep their names; ``leaves`` are types that are not looked into.
    Inputs are those of the example; without one, the arguments of ``forward`` without a default.
    Other arguments are fixed at their default. Code that depends on ``self.training`` is recorded
    for the given mode; None leaves each module in its current mode.
    """
    model = inside(model)
    refuse_lazy(model)
    leaves = tuple(leaves)
    try:
        root = copied(model, leaves)
    except EclError:
        raise
    except Exception as error:
        raise TraceError(f"{type(model).__name__} cannot be copied: {uncopied(error)}") from error
    if training is not None:
        root.train(training)
    root = plain_layers(root, leaves)
    tracer = _LeafTracer(leaves, example)
    tracer.behind = expand_norms(root, leaves)
    gm = _record(root, tracer, type(model).__name__)
    modes = {name: module.training for name, module in root.named_modules(remove_duplicate=False)}
    for name, module in gm.named_modules():
        module.training = modes[name]
    return gm


def _record(root: nn.Module, tracer: _LeafTracer, name: str) -> GraphModule:
    """Run the tracer; with an example, store the shapes of all values."""
    try:
        # The first makes threads take turns; the second changes torch for all of them.
        with taking_recorded_values(), as_if_jit_traced(tracer.knows_shapes):
            graph = _positional(root, unmarked(tracer.trace(root)))
    except Exception as error:
        where = tracer.path[-1] if tracer.path else f"the top level ({name})"
        line = line_of_error(error)
        place = f"{where}, at {line}" if line else where
        raise TraceError(
            f"tracing stopped in {place}: {error}\n{advice(error, tracer.example is not None)}"
            + (
                " Hooks of the whole network are traced too: remove those that only observe."
                if has_hooks(root)
                else ""
            )
        ) from error
    gm = GraphModule(root, graph, name)
    if tracer.shapes is not None and tracer.example is not None:
        tracer.shapes.write(graph)
        tracer.example.write(gm, fixed=tracer.shapes.fixed)
    return gm


def copied(model: nn.Module, known: tuple[type[nn.Module], ...] = ()) -> nn.Module:
    """A deep copy with its hooks, which ``copy.deepcopy`` drops for graph modules.

    Compiled and parallel modules, of which torch makes no working copy, are replaced by what is
    inside them. ``known`` types may hide layers.
    """
    check_module(model)
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


def _positional(root: nn.Module, graph: Graph) -> Graph:
    """Make layers that are called by keyword, ``relu(input=x)``, be called by position."""
    for node in graph.nodes:
        if node.op == "call_module" and node.kwargs:
            forward = root.get_submodule(str(node.target)).forward
            bound = inspect.signature(forward).bind(*node.args, **node.kwargs)
            node.args, node.kwargs = bound.args, bound.kwargs
    return graph


def finish(gm: GraphModule) -> GraphModule:
    """Check a changed graph and generate its code again.

    Passes change the graph and leave the code as it was: whoever lets the module run calls this,
    once, behind the last pass.
    """
    gm.graph.lint()
    gm.recompile()
    return gm
