"""What becomes of each kind of layer at conversion: a small registry of handlers.

A handler is ``handler(module, site) -> nn.Module`` and sees one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn
from torch.fx import Node

from .activation import ThresholdClip
from .errors import ConfigError, RegistrationError, UnsupportedError
from .neuron import DualThreshold
from .pool import SignedMaxPool

if TYPE_CHECKING:
    from .convert import ConvertConfig

__all__ = [
    "Handler",
    "Handlers",
    "Site",
    "handler_for",
    "has_own_handler",
    "keep",
    "register",
    "registered_types",
]


@dataclass(frozen=True)
class Site:
    """Where a layer stands in the network.

    Attributes:
        name: Qualified name of the layer, as in ``model.named_modules()``.
        node: The call in the traced graph.
        config: The settings of the running conversion.
    """

    name: str
    node: Node = field(repr=False)
    config: ConvertConfig


Handler = Callable[[nn.Module, Site], nn.Module]
Handlers = Mapping[type[nn.Module], Handler]

_HANDLERS: dict[type[nn.Module], Handler] = {}


def keep(module: nn.Module, site: Site) -> nn.Module:
    """The handler of layers that are affine in their input: leave them as they are.

    Args:
        module: The layer.
        site: Where it stands.

    Returns:
        The same layer. Subclasses inherit this handler, and only this one; those of linear layers
        and convolutions are tried, and refused if they are not affine.
    """
    return module


def register(*types: type[nn.Module]) -> Callable[[Handler], Handler]:
    """Tell how layers of a type convert; use it as a decorator, or with :func:`keep`.

    Args:
        *types: Module types; each may be registered once.

    Returns:
        A decorator that registers the handler and returns it.

    Raises:
        RegistrationError: Not a module type, or registered already.

    Example:
        >>> class Scale(nn.Module):
        ...     def forward(self, x):
        ...         return 2 * x
        >>> register(Scale)(keep) is keep
        True
    """
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise RegistrationError(f"register() takes nn.Module types; got {kind!r}")
        if kind in _HANDLERS:
            raise RegistrationError(
                f"{kind.__name__} is registered already; to convert it differently for one call, "
                f"pass handlers={{{kind.__name__}: ...}} to convert()"
            )

    def decorate(handler: Handler) -> Handler:
        if not callable(handler):
            raise RegistrationError(f"a handler must be callable; got {handler!r}")
        _HANDLERS.update(dict.fromkeys(types, handler))
        return handler

    return decorate


def registered_types() -> Iterator[type[nn.Module]]:
    """Every type with a handler."""
    yield from _HANDLERS


def handler_for(kind: type[nn.Module], overrides: Handlers | None = None) -> Handler | None:
    """Look a handler up: the exact type; else the nearest ancestor's, if that is :func:`keep`.

    A subclassed convolution is linear as a rule (those that are found not to be are refused where
    this is asked); a subclassed ReLU need not be a ReLU.

    Args:
        kind: The layer's type.
        overrides: Handlers that win for this call.

    Returns:
        The handler, or None if the type is not supported.

    Raises:
        ConfigError: A key of ``overrides`` is no module type.
    """
    for key in overrides or {}:
        if not (isinstance(key, type) and issubclass(key, nn.Module)):
            raise ConfigError(f"handlers= takes nn.Module types as keys; got {key!r}")
    table = {**_HANDLERS, **(overrides or {})}
    if kind in table:
        return table[kind]
    inherited = next((table[base] for base in kind.__mro__ if base in table), None)
    return keep if inherited is keep else None


def has_own_handler(kind: type[nn.Module], overrides: Handlers | None = None) -> bool:
    """Whether a type has a handler itself, rather than from an ancestor."""
    return kind in _HANDLERS or kind in (overrides or {})


# ------------------------------------------------------------------------------- built in

register(
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.Linear, nn.Identity, nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.ZeroPad1d, nn.ZeroPad2d),
    *(nn.ZeroPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
)(keep)


@register(ThresholdClip)
def _clip(module: nn.Module, site: Site) -> nn.Module:
    """λ becomes θ; spikes are worth θ."""
    assert isinstance(module, ThresholdClip)
    theta = module.threshold.detach()
    return DualThreshold(
        theta,
        negative_threshold=site.config.negative_threshold,
        initial_membrane=site.config.initial_membrane,
        spike_grad=site.config.spike_grad,
        graded_spikes_factor=theta,
        init_hidden=True,
    )


@register(
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
def _max_pool(module: nn.Module, site: Site) -> nn.Module:
    if getattr(module, "return_indices", False):
        raise UnsupportedError(
            [f"{site.name} ({type(module).__name__}): return_indices=True"],
            "Indices of a maximum have no spiking counterpart; pool without them.",
        )
    return SignedMaxPool(module)


@register(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def _batch_norm(module: nn.Module, site: Site) -> nn.Module:
    """What could not be folded stays: with running statistics it is affine."""
    if getattr(module, "running_var", None) is None:
        raise UnsupportedError(
            [f"{site.name} ({type(module).__name__}): track_running_stats=False"],
            "Statistics of the running batch depend on the activations; train with "
            "track_running_stats=True.",
        )
    return module


@register(nn.Flatten, nn.Unflatten)
def _flatten(module: nn.Module, site: Site) -> nn.Module:
    name = "start_dim" if isinstance(module, nn.Flatten) else "dim"
    if getattr(module, name) == 0:
        raise UnsupportedError(
            [f"{site.name} ({type(module).__name__}): {name}=0"],
            "Dimension 0 holds time and batch; begin at dimension 1.",
        )
    return module
