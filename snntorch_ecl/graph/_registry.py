"""What the package knows about kinds of layers: one entry for each kind.

Conversion looks up what replaces a layer, unit spikes how a scale of its input passes, energy what
it costs. The package's entries are in :mod:`snntorch_ecl.graph._layers`; users add theirs with
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
        handler: Returns what replaces it at conversion; None for layers that conversion makes.
        cost: ``synapses``: each value it reads is multiplied by weights, or added where it is a
            spike; ``neurons``: it spikes; ``floats``: it computes in floating point at every step;
            ``free``: it moves values, or does nothing; ``other``: it computes, and ``energy``
            names it as not counted.
        scale: What happens to a positive scale of each input channel: the ``weight`` can take it,
            it ``passes`` on to the output, or it ``stops`` here.
        dims: Number of dimensions behind the channels, if it matters to the layer; None: any.
        fixed_dims: Whether its input always has that many.
        keeps_dims: Whether its output has as many dimensions as its input.
        whole: What it does to whole numbers: it ``keeps`` them, as it moves or selects values, or
            it ``averages`` them; None: neither, or it is not known.
        stateful: Whether a neuron, or another layer with state, takes its place.
        carried: It is not affine. Behind a neuron a ``Difference`` carries it, before that it
            stays; subclasses with their own code are looked into.
        floats: Floating-point operations for each value of its output, if it is carried.
        from_zero: Whether its output cannot be below 0.
    """

    handler: Handler | None = None
    cost: Literal["synapses", "neurons", "floats", "free", "other"] = "other"
    scale: Literal["weight", "passes", "stops"] = "stops"
    dims: int | None = None
    fixed_dims: bool = False
    keeps_dims: bool = False
    whole: Literal["keeps", "averages"] | None = None
    stateful: bool = False
    carried: bool = False
    floats: int = 1
    from_zero: bool = False


_TABLE: dict[type[nn.Module], LayerKind] = {}


def keep(module: nn.Module, site: Site) -> nn.Module:
    """The handler of layers that are affine in their input: leave them as they are.

    Args:
        module: The layer.
        site: Where it is in the network, and the settings of the conversion.

    Returns:
        The same layer. Subclasses inherit this handler, and only this one. Subclasses of linear
        layers and convolutions are tested, and refused if they are not affine.

    Example:
        >>> from snntorch_ecl import register
        >>> class Doubles(nn.Module):
        ...     def forward(self, x):
        ...         return 2 * x
        >>> _ = register(Doubles)(keep)
    """
    return module


def register(
    *types: type[nn.Module], like: type[nn.Module] | None = None
) -> Callable[[Handler], Handler]:
    """Say how a type of layer converts; use it as a decorator, or with :func:`keep`.

    One entry serves everything: a layer registered with :func:`keep` converts, ``energy`` counts
    its synapses (as many as there are ways from a value through its weights), and
    ``unit_spikes`` puts an explicit ``Scale`` before it.

    Args:
        *types: Module types; each may be registered once. What the package would carry, such as
            ``nn.GELU``, may be given another handler.
        like: A known type that they behave like, such as ``nn.Conv2d`` for a convolution with
            its own ``forward``: all that is known of it, except the handler, holds for them as
            well. Unit spikes then scale their ``weight``.

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
        if kind in _TABLE and not _TABLE[kind].carried:
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
        stateful = handler is not keep
        add(*types, kind=replace(facts, handler=handler, stateful=stateful, carried=False))
        return handler

    return decorate


def add(*types: type[nn.Module], kind: LayerKind) -> None:
    """Enter types into the table."""
    _TABLE.update(dict.fromkeys(types, kind))


def registered_types() -> Iterator[type[nn.Module]]:
    """Every type that has a handler."""
    return (kind for kind, known in _TABLE.items() if known.handler is not None)


def is_looked_into(kind: type[nn.Module]) -> bool:
    """Whether tracing looks into a type: it descends from a layer of torch's that is not kept."""
    nearest = next((base for base in kind.__mro__ if base in _TABLE), None)
    if nearest is None or nearest is kind or not nearest.__module__.startswith("torch.nn."):
        return False
    return _TABLE[nearest].handler is not keep


def leaf_types() -> tuple[type[nn.Module], ...]:
    """Types that are not looked into, nor their subclasses; see :func:`is_looked_into`."""
    return tuple(kind for kind in registered_types() if not _TABLE[kind].carried)


def is_stateful(module: nn.Module, overrides: Handlers | None = None) -> bool:
    """Whether a neuron, or another layer with state, stands in for a layer once it is converted."""
    given = (overrides or {}).get(type(module))
    return kind_of(module).stateful if given is None else given is not keep


def is_carried(module: nn.Module | None, overrides: Handlers | None = None) -> bool:
    """Whether a layer is not affine, but carried by a ``Difference`` behind a neuron."""
    return type(module) not in (overrides or {}) and kind_of(module).carried


def kind_of(module: nn.Module | None) -> LayerKind:
    """What is known about a layer, by its type or one it inherits from (see :func:`_entry`).

    A subclass may use its weights in its own way, so unit spikes do not scale them.
    """
    handlers = {kind: known.handler for kind, known in _TABLE.items()}
    entry = _entry(type(module), handlers)
    if entry is None:
        return LayerKind()
    return _TABLE[entry] if entry is type(module) else replace(_TABLE[entry], scale="stops")


def _entry(
    kind: type, handlers: Mapping[type[nn.Module], Handler | None]
) -> type[nn.Module] | None:
    """The type whose entry holds for ``kind``: itself, or its nearest ancestor if that is kept.

    A subclassed convolution is usually still linear (one that is found not to be is refused at
    conversion); a subclassed ReLU need not be a ReLU.
    """
    nearest = next((base for base in kind.__mro__ if base in handlers), None)
    if nearest is None or nearest is kind or handlers[nearest] in (keep, None):
        return nearest
    return None


def handler_for(kind: type[nn.Module], overrides: Handlers | None = None) -> Handler | None:
    """The handler of a type (see :func:`_entry`); ``overrides`` win; None if there is none."""
    for key in overrides or {}:
        if not (isinstance(key, type) and issubclass(key, nn.Module)):
            raise ConfigError(f"handlers= takes nn.Module types as keys; got {key!r}")
    handlers = {t: known.handler for t, known in _TABLE.items() if known.handler}
    handlers |= overrides or {}
    entry = _entry(kind, handlers)
    return None if entry is None else handlers[entry]


def has_own_handler(kind: type[nn.Module], overrides: Handlers | None = None) -> bool:
    """Whether a type itself is registered or overridden, not only an ancestor."""
    return kind in _TABLE or kind in (overrides or {})
