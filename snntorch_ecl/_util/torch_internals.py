"""The private names of torch that this package uses; no other module uses any.

No public name gives the same. Tested with torch 2.6 (the oldest allowed) and 2.14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.conv import _ConvNd as Convolution
from torch.nn.modules.conv import _ConvTransposeNd as TransposedConvolution
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.nn.modules.module import (
    _global_forward_hooks,
    _global_forward_pre_hooks,
)
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves, tree_map

P = ParamSpec("P")
T = TypeVar("T")

__all__ = [
    "BatchNorm",
    "Convolution",
    "Dropout",
    "FakeTensors",
    "TransposedConvolution",
    "UnknownShape",
    "as_if_jit_traced",
    "call_with_hooks",
    "can_be_read",
    "compile_once",
    "copy_hooks",
    "has_hooks",
    "inside_ddp",
    "is_compiling",
    "is_gone",
    "is_transformed",
    "memory_of",
    "multiplies_bfloat16",
    "observed_globally",
    "outside_graphs",
    "own_parameter",
    "recompile_limit",
    "traced_assert",
    "tree_leaves",
    "tree_map",
    "uncompile",
    "uncompiled",
    "version_of",
    "with_dynamic_rows",
    "without_compiled",
]

_TRACERS = (FakeTensorMode, ProxyTorchDispatchMode)

UnknownShape = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
    NotImplementedError,
)
"""What calls on fake tensors raise if the result depends on numbers, or is not known."""


class FakeTensors:
    """A context in which tensors have shapes but no numbers, so that nothing is computed."""

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def __enter__(self) -> None:
        self._mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor of this shape."""
        with self._mode:
            return torch.empty(shape, dtype=dtype, device=device)

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of the same shape, dtype and device."""
        return self.empty(tuple(tensor.shape), tensor.dtype, tensor.device)


@contextmanager
def as_if_jit_traced(when: Callable[[], bool]) -> Iterator[None]:
    """Let ``torch.jit.is_tracing()`` be ``when()``: networks then take code without branches."""
    jit: Any = torch.jit
    asked = jit.is_tracing
    jit.is_tracing = when
    try:
        yield
    finally:
        jit.is_tracing = asked


traced_assert = torch._assert
"""What fx writes into a graph for an ``assert``."""

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


def has_hooks(*modules: nn.Module) -> bool:
    """Whether a module has forward hooks: they may observe, or change weights and outputs."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def copy_hooks(source: nn.Module, target: nn.Module) -> None:
    """Give a copy of a module the forward hooks of its original."""
    for kind in _HOOKS:
        setattr(target, kind, getattr(source, kind).copy())


def call_with_hooks(module: nn.Module) -> Callable[..., Any]:
    """A function that runs a module's hooks and its ``forward``, but not its compiled code."""
    call: Callable[..., Any] = type(module)._call_impl
    return call


def memory_of(tensor: Tensor) -> StorageWeakRef:
    """A weak key for the tensor's storage."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def version_of(tensor: Tensor) -> int:
    """How often a tensor was changed in place; inference tensors do not count it."""
    return 0 if tensor.is_inference() else tensor._version


def is_compiling() -> bool:
    """Whether the compiler or an export reads this code.

    torch's own flag is that of the process: while one thread compiles, others that just run see it.
    """
    return torch.compiler.is_dynamo_compiling() or (
        torch.compiler.is_compiling() and bool(_get_current_dispatch_mode_stack())
    )


def can_be_read(tensor: Tensor) -> bool:
    """Whether Python can read a tensor's values here: not compiled, traced, fake or vectorised."""
    return not (
        is_compiling()
        or torch._C._get_tracing_state() is not None
        or tensor.is_meta
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        or any(isinstance(mode, _TRACERS) for mode in _get_current_dispatch_mode_stack())
    )


def records_nothing(*tensors: Tensor) -> bool:
    """Whether results may be written into memory at hand: no gradients of any kind, no graph."""
    forward = torch.autograd.forward_ad._current_level >= 0
    return not (forward or torch.is_grad_enabled()) and all(map(can_be_read, tensors))


def is_transformed(tensor: Tensor) -> bool:
    """Whether ``torch.func`` (``vmap``, ``grad``, …) has wrapped a tensor."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def is_gone(memory: StorageWeakRef) -> bool:
    """Whether the storage behind a key of :func:`memory_of` has been freed."""
    return bool(memory.expired())  # type: ignore[no-untyped-call]


def observed_globally() -> bool:
    """Whether global forward hooks observe every module of the process."""
    return bool(_global_forward_hooks or _global_forward_pre_hooks)


def inside_ddp() -> bool:
    """Whether this code runs in the forward pass of a ``DistributedDataParallel``."""
    return getattr(DistributedDataParallel, "_active_ddp_module", None) is not None


def own_parameter(module: nn.Module, name: str) -> nn.Parameter | None:
    """The parameter that a module stores under a name; None if it has none, or computes it."""
    return module._parameters.get(name)


def compile_once(module: nn.Module, ready: Callable[[], bool], settings: dict[str, Any]) -> None:
    """Compile a module in place, as ``nn.Module.compile`` does, once ``ready()`` is true at a call.

    Copies and pickles of the module are not compiled: torch does not copy the compiled code.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        if not ready():
            return call_with_hooks(module)(module, *args, **kwargs)
        nn.Module.compile(module, **settings)
        return module._compiled_call_impl(*args, **kwargs)  # type: ignore[misc]

    module._compiled_call_impl = call


def uncompile(module: nn.Module) -> None:
    """Undo ``module.compile()``, for which torch has no public way."""
    module._compiled_call_impl = None


def outside_graphs(method: Callable[P, T]) -> Callable[P, T]:
    """``torch.compiler.disable``, but the compiler is loaded at the first call: for a second."""
    disabled: Callable[P, T] = _disable_dynamo(method)
    return disabled


def without_compiled(attributes: dict[str, Any]) -> dict[str, Any]:
    """A module's attributes except its compiled code, which cannot be pickled."""
    return {name: value for name, value in attributes.items() if name != "_compiled_call_impl"}


def uncompiled(module: Any) -> Any:
    """The module inside what ``torch.compile(module)`` returns; anything else as it is."""
    return getattr(module, "_orig_mod", module)


def recompile_limit(limit: int) -> AbstractContextManager[None]:
    """Let Dynamo compile one function up to ``limit`` times, in releases without that option."""
    config: Any = torch._dynamo.config
    names = ("recompile_limit", "cache_size_limit")  # renamed between releases
    name = next(name for name in names if hasattr(config, name))
    context: AbstractContextManager[None] = config.patch({name: limit})
    return context


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 fast; true where torch cannot tell."""
    try:
        supported: Any = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return True
    return bool(supported)


def with_dynamic_rows(tensor: Tensor) -> Tensor:
    """The tensor as an argument of compiled code that takes any number of rows from 2 on."""
    if tensor.shape[0] == 1:
        return tensor
    view = tensor.view_as(tensor)  # the mark stays on the tensor: not on the caller's
    torch._dynamo.maybe_mark_dynamic(view, 0)
    return view
