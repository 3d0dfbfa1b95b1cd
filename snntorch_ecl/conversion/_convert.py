"""``convert``: from a network with thresholds to a spiking one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import snntorch
from torch import Tensor, nn
from torch.fx import GraphModule

from .. import functional as F
from ..errors import (
    ConfigError,
    InputError,
    NotPreparedError,
    ThresholdUnsetError,
    UnsupportedError,
)
from ..graph._carry import carry_calls
from ..graph._example import example_in
from ..graph._fold import drop_identities, fold_batchnorm
from ..graph._names import unique_name as unused_name
from ..graph._refusals import refuse, unsupported
from ..graph._registry import Handlers, handler_for, is_carried
from ..graph._site import ConvertConfig, Site
from ..graph._timed import behind_neurons
from ..graph._trace import finish
from ..graph._values import activations
from ..network._layer import Layer, Norms
from ..network._network import SpikingNetwork
from ..network._step_bias import insert_step_biases
from ..network._time_axis import insert_time
from ..nn._difference import Difference
from ..nn._dual_threshold import DualThreshold
from ..nn._stepwise import Stepwise
from ..nn._temporal import Temporal
from ..nn._threshold_clip import clips_of
from ._prepare import normalise
from ._unit_spikes import unit_spikes as with_unit_spikes


def convert(
    model: nn.Module,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: F.SurrogateGradient | None = None,
    spike_sizes: int = 1,
    fold_batchnorms: bool = True,
    unit_spikes: bool = False,
    handlers: Handlers | None = None,
    leaf_modules: Iterable[type[nn.Module]] = (),
    example: Any = None,
) -> SpikingNetwork:
    """Turn a network with ``ThresholdClip`` activations into a spiking one.

    Weights are kept, batch norms folded, each clip's λ becomes a neuron's θ, max-pooling becomes
    exact on signed spikes, and everything before the first neuron is computed once for all steps.

    Args:
        model: What :func:`prepare` returned, trained; or a network written with
            ``ThresholdClip``. It is copied, not changed.
        negative_threshold: θ′ ≤ 0, absolute; ``-inf`` gives plain integrate-and-fire neurons.
        initial_membrane: v(0) in units of θ (of the smallest spike).
        spike_grad: Surrogate gradient of every neuron, for fine-tuning.
        spike_sizes: K: spikes of K sizes, θ to θ/2^(K−1), for hardware with graded spikes; fewer
            steps are then enough. See :class:`DualThreshold`.
        fold_batchnorms: Fold batch norms into the convolutions before them. A network that you
            will fine-tune learns faster with batch norms: keep them, and fold them after the
            training with :meth:`SpikingNetwork.fold_batchnorms`.
        unit_spikes: Spikes are −1, 0 and +1, as chips and event counters expect, instead of worth
            θ. θ is multiplied into the next layers' weights; where the graph does not allow that,
            an explicit layer ``Scale`` multiplies. Outputs stay the same.
        handlers: Handlers by module type, used instead of the registered ones in this call.
        leaf_modules: Your own types that tracing must not look into; they need a handler.
        example: As for :func:`prepare`. What ``prepare`` returned remembers its example.

    Returns:
        The spiking network, in eval mode.

    Raises:
        ConfigError: θ′, v(0) or K is outside its range.
        NotPreparedError: The network has no ``ThresholdClip``.
        ThresholdUnsetError: Some clips have no threshold; lists them all.
        InputError: A parameter is NaN or infinite.
        TraceError, UnsupportedError: As for :func:`prepare`; or ``unit_spikes``, and a handler's
            neuron emits spikes that are not worth θ.

    Example:
        >>> import torch
        >>> from snntorch_ecl import ThresholdClip
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn = convert(ann)
        >>> snn(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    config = ConvertConfig(
        negative_threshold=negative_threshold,
        initial_membrane=initial_membrane,
        spike_grad=spike_grad,
        spike_sizes=spike_sizes,
    )
    norms: Norms = "folded" if fold_batchnorms else "kept"
    return converted(model, config, norms, unit_spikes, handlers, leaf_modules, example)


def converted(
    model: nn.Module,
    config: ConvertConfig,
    norms: Norms,
    unit_spikes: bool,
    handlers: Handlers | None,
    leaf_modules: Iterable[type[nn.Module]],
    example: Any,
    kept: Collection[str] = (),
) -> SpikingNetwork:
    """As :func:`convert`; batch norms whose names are ``kept`` are not folded."""
    gm = normalise(model, leaf_modules, handlers, training=False, example=example)
    _check_ready(gm, type(model).__name__)
    found = unsupported(gm, handlers, rectifiers_too=True)
    refuse(found, has_example=example_in(gm) is not None)
    gm = drop_identities(fold_batchnorm(gm, kept) if norms == "folded" else gm)
    gm, layers = _swap(gm, config, handlers)
    gm = carry_calls(gm)
    if unit_spikes:
        gm = with_unit_spikes(gm)
    net = finish(insert_time(gm))
    return SpikingNetwork(net, layers, unit_spikes=unit_spikes, norms=norms).eval()


def _check_ready(gm: GraphModule, model_name: str) -> None:
    clips = clips_of(gm)
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
    """Replace each call's module by what its handler returns: one module for each call."""
    layers: list[Layer] = []
    refused: list[str] = []
    live = activations(gm)
    calls = [node for node in gm.graph.nodes if node.op == "call_module"]
    # Layers that only read parameters stay: their output is the same at every step.
    replaced = {str(node.target) for node in calls if node not in live}
    originals = dict(gm.named_modules(remove_duplicate=False))
    timed = behind_neurons(gm, handlers)
    for node in (node for node in calls if node in live):
        name = str(node.target)
        module = originals[name]
        if node not in timed and is_carried(module, handlers):
            replaced.add(name)
            continue  # it sees a constant
        handler = handler_for(type(module), handlers)
        assert handler is not None  # refuse() has checked it
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
        if isinstance(new, (DualThreshold, Difference)):
            new.qualified_name = name
        gm.add_submodule(name, new)
        node.target = name
        if isinstance(new, (snntorch.SpikingNeuron, Stepwise)):
            layers.append(Layer(name, getattr(module, "levels", None)))
    if refused:
        raise UnsupportedError(refused, "Change these settings in the network.")
    gm.delete_all_unused_submodules()
    return gm, tuple(layers)


def _with_time(module: nn.Module, name: str) -> nn.Module:
    """Wrap other neurons, at any depth, to run step by step: they cannot take ``[T·B, ...]``."""
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the handler for {name} must return an nn.Module; got {module!r}")
    if isinstance(module, snntorch.SpikingNeuron) and (not module.init_hidden or module.output):
        raise ConfigError(
            f"the neuron for {name} must have init_hidden=True and output=False, so that it maps "
            "one tensor to one tensor"
        )
    stateful = any(isinstance(m, (snntorch.SpikingNeuron, Temporal)) for m in module.modules())
    return Stepwise(module) if stateful and not isinstance(module, Temporal) else module


def with_step_biases(snn: SpikingNetwork, biases: Mapping[str, Tensor]) -> SpikingNetwork:
    """The network with a :class:`~snntorch_ecl.nn.StepBias` ``[T, C]`` before some neurons."""
    net = finish(insert_step_biases(snn.net, biases))
    twin = SpikingNetwork(net, snn.layers, unit_spikes=snn.unit_spikes, norms=snn.norms)
    return twin.train(snn.training)
