"""``compensate``: correct weights or biases so that the SNN's currents match the ANN's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from tqdm import tqdm

from .._util.batches import check_one_input, images_in
from .._util.checks import check_num_steps
from .._util.devices import device_of
from ..errors import ConfigError, DataError
from ..network import _pieces as pieces
from ..network._check_spiking import check_spiking
from ..network._network import SpikingNetwork
from ..network._step_bias import step_biases
from ..nn import Temporal, unfold
from ._convert import with_step_biases
from ._correctors import Biases, Corrector, Steps, Weights
from ._layer_before import layer_before
from ._reference import Reference

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

    Layers are corrected in the network's order, so later ones see the corrected ones before them.
    The logits come last. ``weights`` and ``biases`` add no layers, so the network costs the same
    to run.

    - ``weights``: fits the weights and bias before each neuron by least squares, so that the mean
      current is the ANN's for each image, although the layer reads spikes. Best for networks
      trained with ReLU, above all at T = 2.
    - ``biases``: moves the bias of each channel until the mean spike output over ``num_steps`` is
      the ANN's mean activation.
    - ``steps``: gives each channel a bias for every time step, so that the mean current of each
      step is the ANN's. This adds ``[T, C]`` numbers to a layer, and one addition before each
      neuron. Best for networks trained with clips, and at T = 1.

    All images go through a layer, in groups, before the next layer is corrected. Memory holds the
    outputs of one layer for all images and steps, and, for ``weights``, all the ANN's activations
    for these images. Use fewer images for large networks.

    Args:
        snn: The converted network. It is not changed.
        ann: The network to agree with: the ReLU network it came from, or the prepared one. After
            ``calibrate``, give the ReLU network, as the thresholds clip the activations.
        data: A few hundred unlabelled images in batches: tensors ``[B, ...]``, tuples that begin
            with one, or dicts.
        num_steps: T at which the network will run; the correction is for this T.
        method: What to correct: ``weights``, ``biases`` or ``steps``.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        A corrected copy of the network.

    Raises:
        ConfigError: num_steps < 1, an unknown method, an ANN with other layers than the network,
            or a network that is already corrected step by step.
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
    corrected = step_biases(snn.net)
    if corrected:
        raise ConfigError(
            f"the network is corrected step by step already (before {', '.join(corrected)}): "
            "compensate the network that convert returned"
        )
    kind = _CORRECTORS[method]
    images = list(images_in(data, key=key))
    if not images:
        raise DataError("the data is empty: there is no batch to compensate with")
    # Least squares need gradients, which an inference mode around this call would forbid.
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
    """Correct the network in place."""
    groups = [part for batch in images for part in pieces.groups(snn.net, batch, num_steps)]
    correctors = {
        name: kind(snn.net, neuron, layer_before(snn.net, name), num_steps, snn.spike_worth(name))
        for name, neuron in snn.neurons.items()
    }
    last = kind(snn.net, None, layer_before(snn.net, None), num_steps)
    reference = Reference(ann, snn)
    for group in groups:
        answer, seen = reference.run(group)
        last.targets.append(answer)
        for name, corrector in correctors.items():
            corrector.targets.append(kind.of_ann(seen[name]))
    outputs = _Walk(snn.net, correctors, last, num_steps).over(groups, progress=progress)
    logits = last.targets
    if all(isinstance(v, Tensor) for v in (*outputs, *logits)):
        means = [unfold(output, num_steps).mean(0) for output in outputs]
        if [mean.shape for mean in means] == [answer.shape for answer in logits]:
            last.finish(means)
    snn.reset()
    found = {name: c.bias for name, c in correctors.items() if isinstance(c, Steps)}
    biases = {name: bias for name, bias in found.items() if bias is not None}
    return with_step_biases(snn, biases) if biases else snn


class _Walk(Interpreter):
    """Runs a graph with time inserted node by node, each for all groups of images.

    So a layer can be corrected with all images before any of them goes on to the next layer.
    """

    held = 1  # how many steps the currents of the present neuron stand for

    def __init__(
        self,
        net: GraphModule,
        correctors: Mapping[str, Corrector],
        last: Corrector,
        num_steps: int,
    ) -> None:
        super().__init__(net)
        self.correctors, self.num_steps = correctors, num_steps
        fitted = [c for c in (*correctors.values(), last) if isinstance(c, Weights)]
        self.fitted = {id(c.layer): c for c in fitted if c.layer is not None}

    def over(self, groups: list[Tensor], *, progress: bool) -> list[Any]:
        """The output of the graph for each group."""
        image, steps, held = (n for n in self.graph.nodes if n.op == "placeholder")
        envs: list[dict[Node, Any]] = [
            {image: group, steps: self.num_steps, held: self.num_steps} for group in groups
        ]
        bar = tqdm(
            total=len(self.correctors), desc="compensate", unit="layer", disable=not progress,
            leave=False, delay=2,
        )  # fmt: skip
        outputs: list[Any] = []
        with bar:
            for node in self.graph.nodes:
                if node.op == "placeholder":
                    continue
                currents: Sequence[Tensor | None] = [None] * len(envs)
                if node.op == "call_module" and node.target in self.correctors:
                    currents = self._corrected(node, envs)
                    bar.update(1)
                outputs = [
                    self._step(node, env, given) for env, given in zip(envs, currents, strict=True)
                ]
        return outputs

    def _step(self, node: Node, env: dict[Node, Any], current: Tensor | None) -> Any:
        """Run one node for one group, and drop values that no later node reads."""
        self.env = env
        layer = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, Temporal):
            layer.begin()
        if current is None:
            value = self.run_node(node)
        else:
            assert layer is not None
            value = layer(current, num_steps=self.num_steps, held=self.held)
        env[node] = value
        if id(layer) in self.fitted:
            corrector = self.fitted[id(layer)]
            corrector.inputs.append(env[node.args[0]])  # type: ignore[index]
            corrector.shape = value.shape[1:]
        for read in self.user_to_last_uses.get(node, ()):
            del env[read]
        return value

    def _corrected(self, node: Node, envs: list[dict[Node, Any]]) -> list[Tensor]:
        """Correct the layer before a neuron; returns the currents that now reach the neuron."""
        source, given = node.args[0], node.kwargs.get("held", 1)
        held: Any = envs[0][given] if isinstance(given, Node) else given
        corrector = self.correctors[str(node.target)]
        currents = [env[source] for env in envs]  # type: ignore[index]
        currents, self.held = corrector.corrected(currents, held)
        corrector.inputs, corrector.targets = [], []  # no longer needed; free the memory
        return currents
