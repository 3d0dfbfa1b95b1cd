"""``compensate``: what thresholds alone cannot mend, the layers between them can."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .batches import check_one_input, images_in
from .checks import check_num_steps
from .correction import Biases, Corrector, Steps, Weights
from .errors import ConfigError, DataError
from .meters import activations_of, watched_ann
from .network import SpikingNetwork, check_spiking
from .processes import device_of
from .sites import layer_before
from .step_bias import insert_step_biases, step_biases

__all__ = ["Correction", "compensate"]

Correction = Literal["weights", "biases", "steps"]

_CORRECTORS: dict[Correction, type[Corrector]] = {
    "weights": Weights,
    "biases": Biases,
    "steps": Steps,
}


def compensate(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    *,
    num_steps: int,
    method: Correction = "weights",
    key: str | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Correct a converted network, layer by layer, from a few hundred unlabelled images.

    The layers are taken in the network's order; later ones see the corrected ones before them. At
    last the logits are corrected. ``weights`` and ``biases`` leave the network's shape as it is:
    it costs nothing more to run.

    - ``weights``: least squares fit the weights and bias before each neuron, so that its mean
      current is its ANN's, image by image, though what comes in are spikes. Best for networks
      trained with ReLU, above all at T = 2.
    - ``biases``: the bias of each channel is moved until the mean spike output over ``num_steps``
      is the ANN's mean activation.
    - ``steps``: each channel gets a bias for every time step, so that the mean current of each
      step is the ANN's; ``[T, C]`` numbers more a layer, and one addition before each neuron.
      Best for networks trained with clips, and at T = 1.

    All images run together: memory is that of the largest layer times images and steps and, for
    ``weights``, of all the ANN's activations for these images. Give fewer to large networks.

    Args:
        snn: The converted network. It stays as it is.
        ann: What it should agree with: the ReLU network it came from, or the prepared one. (After
            ``calibrate``, give the ReLU network: thresholds clip what it is to be corrected to.)
        data: A few hundred unlabelled images in batches: tensors ``[B, ...]``, tuples that begin
            with one, or dicts.
        num_steps: T at which it will run; the correction is for this T.
        method: What is corrected.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        A corrected copy of the network.

    Raises:
        ConfigError: num_steps < 1, an unknown method, the ANN has other layers than the network,
            or the network is corrected step by step already.
        DataError: No data, or batches of another form.

    Example:
        >>> from snntorch_ecl import calibrate, convert, prepare
        >>> relu_network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> data = [torch.rand(64, 8)]
        >>> snn = convert(calibrate(prepare(relu_network), data, progress=False))
        >>> better = compensate(snn, relu_network, data, num_steps=4, progress=False)
        >>> better(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    check_num_steps(num_steps)
    if method not in _CORRECTORS:
        options = ", ".join(_CORRECTORS)
        raise ConfigError(f"method must be one of {options}; got {method!r}")
    check_spiking(snn)
    check_one_input(snn.net, "compensate")
    corrected = step_biases(snn)
    if corrected:
        raise ConfigError(
            f"the network is corrected step by step already (before {', '.join(corrected)}): "
            "compensate the network that convert returned"
        )
    kind = _CORRECTORS[method]
    images = list(images_in(data, key=key))
    if not images:
        raise DataError("the data is empty: there is no batch to compensate with")
    # Least squares differentiate, which an inference mode around this would not let them.
    with torch.inference_mode(False), torch.no_grad():
        device = device_of(snn)
        images = [(x.clone() if x.is_inference() else x).to(device) for x in images]
        return _corrected(kind, copy.deepcopy(snn).eval(), ann, images, num_steps, progress)


def _corrected(
    kind: type[Corrector],
    snn: SpikingNetwork,
    ann: nn.Module,
    images: list[Tensor],
    num_steps: int,
    progress: bool,
) -> SpikingNetwork:
    """The network, which is ours to change, corrected."""
    targets, logits = _of_ann(kind, ann, snn, images)
    correctors = {
        name: kind(
            snn.net, neuron, layer_before(snn.net, name), targets.pop(name), num_steps,
            worth=snn.spike_worth(name),
        )
        for name, neuron in snn.neurons.items()
    }  # fmt: skip
    last = kind(snn.net, None, layer_before(snn.net, None), logits, num_steps)
    output = _run(snn, correctors, last, torch.cat(images), num_steps, progress)
    if isinstance(output, Tensor) and output.shape == logits.shape:
        last.finish(output, logits)
    snn.reset()
    found = {name: c.bias for name, c in correctors.items() if isinstance(c, Steps)}
    biases = {name: bias for name, bias in found.items() if bias is not None}
    return insert_step_biases(snn, biases) if biases else snn


def _of_ann(
    kind: type[Corrector], ann: nn.Module, snn: SpikingNetwork, images: list[Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """What the correctors need to know of each of the ANN's layers, and its logits."""
    ann = watched_ann(ann, snn.neurons).to(device_of(snn))
    kept: dict[str, list[Tensor]] = {name: [] for name in snn.neurons}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            kept[name].append(kind.of_ann(args[0], output))

        return hook

    for name, clip in activations_of(ann, snn.neurons).items():
        clip.register_forward_hook(watch(name))
    outputs = [ann(batch) for batch in images]
    logits = torch.cat(outputs) if isinstance(outputs[0], Tensor) else torch.zeros(())
    return {name: torch.cat(values) for name, values in kept.items()}, logits


def _run(
    snn: SpikingNetwork,
    correctors: dict[str, Corrector],
    last: Corrector,
    images: Tensor,
    num_steps: int,
    progress: bool,
) -> Any:
    """One pass of the spiking network, in which each layer is corrected when its turn comes."""
    bar = tqdm(
        total=len(correctors), desc="compensate", unit="layer", disable=not progress,
        leave=False, delay=2,
    )  # fmt: skip

    def before(corrector: Corrector) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> Any:
            current, held = corrector.corrected(args[0], kwargs.get("held", 1))
            bar.update(1)
            return (current,), {**kwargs, "held": held}

        return hook

    handles = []
    for corrector in (*correctors.values(), last):
        if corrector.neuron is not None:
            hook = before(corrector)
            handles.append(corrector.neuron.register_forward_pre_hook(hook, with_kwargs=True))
        if corrector.site is not None and isinstance(corrector, Weights):
            handles.append(corrector.site.register_forward_hook(_remembers(corrector)))
    try:
        return snn(images, num_steps=num_steps)
    finally:
        bar.close()
        for handle in handles:
            handle.remove()


def _remembers(corrector: Weights) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        corrector.inputs, corrector.shape = args[0], output.shape[1:]

    return hook
