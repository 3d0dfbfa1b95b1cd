"""Which nodes of a graph are activations, and which are sizes."""

from __future__ import annotations

import operator

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.torch_internals import traced_assert
from ..nn._attention import DropRows
from ._checks import CHECKS

_OPERATORS = {
    operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.neg,
    operator.getitem, operator.mod, operator.eq, operator.ne, operator.lt, operator.le, operator.gt,
    operator.ge, getattr, traced_assert,
}  # fmt: skip


_SIZE_ATTRIBUTES = {"shape", "ndim", "dtype", "device"}


def is_size(node: Node) -> bool:
    """Whether a node is a shape, dtype or device, or is computed from those alone."""
    if node.target in CHECKS:
        return True
    if node.op == "call_method":
        return node.target in {"size", "dim", "numel"}
    if node.op != "call_function" or node.target not in _OPERATORS:
        return False
    if node.target is getattr:
        return node.args[1] in _SIZE_ATTRIBUTES
    return bool(node.all_input_nodes) and all(is_size(source) for source in node.all_input_nodes)


def activations(gm: GraphModule) -> set[Node]:
    """Nodes whose value depends on the network's input (parameters and sizes do not)."""
    found: set[Node] = set()
    for node in gm.graph.nodes:
        sources = node.all_input_nodes
        if node.target in ("to", "type_as"):  # of the other tensor they take type and device
            sources = sources[:1]
        depends = node.op == "placeholder" or any(n in found for n in sources)
        if depends and not is_size(node):
            found.add(node)
    return found


IDLE_LAYERS: tuple[type[nn.Module], ...] = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout, DropRows),
)


def is_idle(module: nn.Module) -> bool:
    """Whether a layer does nothing at inference; a subclass with its own ``forward`` may."""
    return type(module).forward in {kind.forward for kind in IDLE_LAYERS}


def read_by_code(gm: GraphModule) -> set[int]:
    """Ids of the parameters and buffers that the network's code reads directly."""
    tensors: dict[str, Tensor] = dict(gm.named_parameters(remove_duplicate=False))
    tensors.update(gm.named_buffers(remove_duplicate=False))
    return {id(tensors.get(str(n.target))) for n in gm.graph.nodes if n.op == "get_attr"}
