"""What the package knows about kinds of layers: one entry each, for everything that asks.

Conversion asks what becomes of a layer, unit spikes how a scale of its input passes, energy what
it costs. The entries themselves are in :mod:`snntorch_ecl.graph._layers`; a user's come from
:func:`register`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from ..errors import ConfigError, RegistrationError
from ._site import Site

Handler = Callable[[nn.Module, Site], nn.Module]
Handlers = Mapping[type[nn.Module], Handler]


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """What is known about a kind of layer.

    Attributes:
        handler: What becomes of it at conversion; None for layers that exist only after it.
        cost: ``synapses``: each value it reads is multiplied by weights, or added where it is a
            spike; ``neurons``: it spikes; ``free``: it moves values, or does nothing; ``other``:
            it computes, and ``energy`` names it as not counted.
        scale: What becomes of a positive scale of each input channel: the ``weight`` can take it,
            it ``passes`` on to the output, or it ``stops`` here.
        dims: Dimensions behind the channels, for layers to which they matter; None: any number.
        fixed_dims: Whether its input always has that many: the layer tells their number.
        keeps_dims: Whether its output has as many dimensions as its input.
    """

    handler: Handler | None = None
    cost: Literal["synapses", "neurons", "free", "other"] = "other"
    scale: Literal["weight", "passes", "stops"] = "stops"
    dims: int | None = None
    fixed_dims: bool = False
    keeps_dims: bool = False


_TABLE: dict[type[nn.Module], LayerKind] = {}


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


def register(
    *types: type[nn.Module], like: type[nn.Module] | None = None
) -> Callable[[Handler], Handler]:
    """Tell what a type of layer is; use it as a decorator, or with :func:`keep`.

    One entry serves everything: a layer registered with :func:`keep` converts, its synapses are
    counted by ``energy`` (it has as many as there are ways from a value through its weights), and
    ``unit_spikes`` puts an explicit ``Scale`` before it.

    Args:
        *types: Module types; each may be registered once.
        like: A known type that they behave like, such as ``nn.Conv2d`` for a convolution with a
            ``forward`` of its own: all that is known of it holds for them as well, but for the
            handler. Unit spikes then scale their ``weight``.

    Returns:
        A decorator that registers the handler and returns it.

    Raises:
        RegistrationError: Not a module type, registered already, or ``like`` is not known.

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
        if kind in _TABLE:
            raise RegistrationError(
                f"{kind.__name__} is registered already; to convert it differently for one call, "
                f"pass handlers={{{kind.__name__}: ...}} to convert()"
            )
    if like is not None and like not in _TABLE:
        raise RegistrationError(f"like= takes a type that is registered; got {like!r}")

    def decorate(handler: Handler) -> Handler:
        if not callable(handler):
            raise RegistrationError(f"a handler must be callable; got {handler!r}")
        facts = LayerKind(cost="synapses") if like is None else _TABLE[like]
        add(*types, kind=replace(facts, handler=handler))
        return handler

    return decorate


def add(*types: type[nn.Module], kind: LayerKind) -> None:
    """Enter types into the table."""
    _TABLE.update(dict.fromkeys(types, kind))


def registered_types() -> Iterator[type[nn.Module]]:
    """Every type that converts."""
    return (kind for kind, known in _TABLE.items() if known.handler is not None)


def kind_of(module: nn.Module | None) -> LayerKind:
    """What is known about a layer: of its exact type; else of the nearest ancestor, if it is kept.

    A subclassed convolution is linear as a rule (those that are found not to be are refused where
    it converts), with weights that only it knows to use; a subclassed ReLU need not be a ReLU.
    """
    kinds = type(module).__mro__
    if kinds[0] in _TABLE:
        return _TABLE[kinds[0]]
    inherited = next((_TABLE[base] for base in kinds if base in _TABLE), LayerKind())
    if inherited.handler not in (keep, None):
        return LayerKind()
    return replace(inherited, scale="stops")


def handler_for(kind: type[nn.Module], overrides: Handlers | None = None) -> Handler | None:
    """Look a handler up: the exact type; else the nearest ancestor's, if that is :func:`keep`.

    Raises:
        ConfigError: A key of ``overrides`` is no module type.
    """
    for key in overrides or {}:
        if not (isinstance(key, type) and issubclass(key, nn.Module)):
            raise ConfigError(f"handlers= takes nn.Module types as keys; got {key!r}")
    table = {t: known.handler for t, known in _TABLE.items() if known.handler} | dict(
        overrides or {}
    )
    if kind in table:
        return table[kind]
    inherited = next((table[base] for base in kind.__mro__ if base in table), None)
    return keep if inherited is keep else None


def has_own_handler(kind: type[nn.Module], overrides: Handlers | None = None) -> bool:
    """Whether a type has a handler itself, rather than from an ancestor."""
    return kind in _TABLE or kind in (overrides or {})
