"""``prepare`` and ``convert``: from a ReLU network to a trainable one, to a spiking one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import snntorch
from torch import nn
from torch.fx import GraphModule

from . import functional as F
from .activation import ThresholdClip
from .checks import check_levels, check_neuron
from .errors import (
    ConfigError,
    InputError,
    NotPreparedError,
    ThresholdUnsetError,
    UnsupportedError,
)
from .graph import drop_identities, fold_batchnorm, functional_to_module, functionalise
from .graph import unique_name as unused_name
from .handlers import Handlers, Site, handler_for, registered_types
from .network import Layer, SpikingNetwork
from .neuron import DualThreshold
from .operations import activations
from .pool import SignedMaxPool
from .rewrites import BUILDERS, rectifiers_to_clips
from .support import refuse, unsupported
from .temporal import Stepwise, Temporal
from .timing import insert_time
from .tracing import trace
from .unit_spikes import unit_spikes as with_unit_spikes

__all__ = ["ConvertConfig", "convert", "prepare"]


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """The settings of a conversion; each neuron is built with them.

    Attributes:
        negative_threshold: θ′ ≤ 0, absolute; ``-inf`` for plain IF neurons.
        initial_membrane: v(0) in units of θ.
        spike_grad: Surrogate gradient for fine-tuning; None is snnTorch's default.
    """

    negative_threshold: float = -1e-3
    initial_membrane: float = 0.5
    spike_grad: F.SurrogateGradient | None = None

    def __post_init__(self) -> None:
        check_neuron(self.negative_threshold, self.initial_membrane)
        if self.spike_grad is not None and not callable(self.spike_grad):
            raise ConfigError(f"spike_grad must be a function or None; got {self.spike_grad!r}")


def prepare(
    model: nn.Module,
    *,
    levels: int | None = 4,
    per_channel: bool = False,
    leaf_modules: Iterable[type[nn.Module]] = (),
    handlers: Handlers | None = None,
) -> nn.Module:
    """Give every ReLU of a network, functional or not, a learnable ``ThresholdClip`` of its own.

    The result computes what ``model`` computes until its thresholds are set: train it (the first
    batch in training mode starts them), or assign them. Code that depends on ``self.training``
    is recorded for the mode the model is in.

    Args:
        model: A network with ReLU, ReLU6 or Hardtanh(0, a), as modules or as functions. It is
            copied and stays as it is.
        levels: L of every clip; None clips without quantising.
        per_channel: One threshold for each channel, not for each layer.
        leaf_modules: Types of your own that tracing must not look into; they need a handler.
        handlers: As for :func:`convert`; what will be refused there is refused here, before
            any training.

    Returns:
        A trainable ``torch.fx.GraphModule`` with the same parameter names; reach a layer with
        ``get_submodule("stage1.2")``, as graph modules cannot be indexed.

    Raises:
        ConfigError: levels < 1.
        TraceError: The network's control flow depends on its data.
        UnsupportedError: Layers or operations that no spiking network can hold; lists them all.

    Example:
        >>> ann = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> prepare(ann, levels=8).get_submodule("1")
        ThresholdClip(levels=8, threshold=unset, per_channel=False)
    """
    check_levels(levels)
    gm = _normalise(model, leaf_modules, handlers, training=None)
    refuse(unsupported(gm, handlers, rectifiers_too=False))
    gm = rectifiers_to_clips(gm, levels=levels, per_channel=per_channel)
    if not any(isinstance(module, ThresholdClip) for module in gm.modules()):
        raise UnsupportedError(
            [f"{type(model).__name__}: it has no ReLU, ReLU6, Hardtanh(0, a) or ThresholdClip"],
            "Nothing in it would spike. Use ReLU activations.",
        )
    return gm


def convert(
    model: nn.Module,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: F.SurrogateGradient | None = None,
    fold_batchnorms: bool = True,
    unit_spikes: bool = False,
    handlers: Handlers | None = None,
    leaf_modules: Iterable[type[nn.Module]] = (),
) -> SpikingNetwork:
    """Turn a network with ``ThresholdClip`` activations into a spiking one.

    Weights are kept, batch norms folded, each clip's λ becomes a neuron's θ, max-pooling becomes
    exact on signed spikes, and everything before the first neuron is computed once for all steps.

    Args:
        model: What :func:`prepare` returned, trained; or a network written with
            ``ThresholdClip``. It is copied and stays as it is.
        negative_threshold: θ′ ≤ 0, absolute; ``-inf`` gives plain integrate-and-fire neurons.
        initial_membrane: v(0) in units of θ.
        spike_grad: Surrogate gradient of every neuron, for fine-tuning.
        fold_batchnorms: Make batch norms part of the convolutions before them. A network that is
            to be fine-tuned learns faster with them: keep them, and fold them after the training
            with :meth:`SpikingNetwork.fold_batchnorms`.
        unit_spikes: Spikes are −1, 0 and +1, as chips and event counters want them, instead of
            worth θ; θ is multiplied into the next layers' weights, and where the graph does not
            allow it an explicit layer ``Scale`` multiplies. Outputs stay as they are.
        handlers: Handlers by module type that win over the registered ones in this call.
        leaf_modules: Types of your own that tracing must not look into; they need a handler.

    Returns:
        The spiking network, in eval mode.

    Raises:
        ConfigError: θ′ or v(0) is outside its range.
        NotPreparedError: The network has no ``ThresholdClip``.
        ThresholdUnsetError: Some clips have no threshold; lists them all.
        InputError: A parameter is NaN or infinite.
        TraceError, UnsupportedError: As for :func:`prepare`; or ``unit_spikes``, and a handler's
            neuron emits spikes that are not worth θ.

    Example:
        >>> import torch
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn = convert(ann)
        >>> snn(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    config = ConvertConfig(
        negative_threshold=negative_threshold,
        initial_membrane=initial_membrane,
        spike_grad=spike_grad,
    )
    gm = _normalise(model, leaf_modules, handlers, training=False)
    _check_ready(gm, type(model).__name__)
    refuse(unsupported(gm, handlers, rectifiers_too=True))
    gm = drop_identities(fold_batchnorm(gm) if fold_batchnorms else gm)
    gm, layers = _swap(gm, config, handlers)
    if unit_spikes:
        gm = with_unit_spikes(gm)
    return SpikingNetwork(insert_time(gm), layers, unit_spikes=unit_spikes).eval()


def _normalise(
    model: nn.Module,
    leaf_modules: Iterable[type[nn.Module]],
    handlers: Handlers | None,
    *,
    training: bool | None,
) -> GraphModule:
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model must be an nn.Module; got {type(model).__name__}")
    leaf_modules = tuple(leaf_modules)
    for leaf in leaf_modules:
        if not (isinstance(leaf, type) and issubclass(leaf, nn.Module)):
            raise ConfigError(f"leaf_modules= takes nn.Module types; got {leaf!r}")
    own = (ThresholdClip, snntorch.SpikingNeuron, *registered_types())
    gm = trace(model, (*own, *leaf_modules, *(handlers or {})), training=training)
    gm = functionalise(gm)
    gm.graph.eliminate_dead_code()  # what nothing reads would be a layer without a threshold
    return functional_to_module(gm, BUILDERS)


def _check_ready(gm: GraphModule, model_name: str) -> None:
    clips = {n: m for n, m in gm.named_modules() if isinstance(m, ThresholdClip)}
    if not clips:
        raise NotPreparedError(
            f"{model_name} has no ThresholdClip whose threshold could become a firing threshold; "
            "call ann = ecl.prepare(model) and train it before ecl.convert(ann)"
        )
    unset = [name for name, clip in clips.items() if not clip.is_set]
    if unset:
        raise ThresholdUnsetError(
            f"{len(unset)} of {len(clips)} ThresholdClips have no threshold yet: "
            f"{', '.join(unset)}. Train the network (a batch in training mode sets them), or "
            "assign `clip.threshold`."
        )
    for name, value in [*gm.named_parameters(), *gm.named_buffers()]:
        if not bool(value.isfinite().all()):
            raise InputError(
                f"{name} holds NaN or infinity; the network it would become could only be silent. "
                "Go back to a checkpoint from before the training diverged."
            )


# -------------------------------------------------------------------------------------- swap


def _swap(
    gm: GraphModule, config: ConvertConfig, handlers: Handlers | None
) -> tuple[GraphModule, tuple[Layer, ...]]:
    """Replace each call's module by what its handler returns: one module a call site."""
    layers: list[Layer] = []
    refused: list[str] = []
    live = activations(gm)
    calls = [node for node in gm.graph.nodes if node.op == "call_module"]
    # Layers of parameters alone stay: what they give is the same at every step.
    replaced = {str(node.target) for node in calls if node not in live}
    originals = dict(gm.named_modules(remove_duplicate=False))
    for node in (node for node in calls if node in live):
        name = str(node.target)
        module = originals[name]
        handler = handler_for(type(module), handlers)
        assert handler is not None  # refuse() has seen to it
        try:
            new = _with_time(handler(module, Site(name, node, config)), name)
        except UnsupportedError as error:
            refused += error.sites
            continue
        if new is module:
            continue
        if name in replaced:
            name = unused_name(gm, name)
        replaced.add(name)
        if isinstance(new, (DualThreshold, SignedMaxPool)):
            new.qualified_name = name
        gm.add_submodule(name, new)
        node.target = name
        if isinstance(new, (snntorch.SpikingNeuron, Stepwise)):
            layers.append(Layer(name, getattr(module, "levels", None)))
    if refused:
        raise UnsupportedError(refused, "Change these settings in the network.")
    gm.delete_all_unused_submodules()
    gm.recompile()
    return gm, tuple(layers)


def _with_time(module: nn.Module, name: str) -> nn.Module:
    """Let other neurons, at any depth, run step by step: they do not know time-major batches."""
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the handler for {name} must return an nn.Module; got {module!r}")
    if isinstance(module, snntorch.SpikingNeuron) and (not module.init_hidden or module.output):
        raise ConfigError(
            f"the neuron for {name} must have init_hidden=True and output=False, so that it maps "
            "one tensor to one tensor"
        )
    stateful = any(isinstance(m, (snntorch.SpikingNeuron, Temporal)) for m in module.modules())
    return Stepwise(module) if stateful and not isinstance(module, Temporal) else module
