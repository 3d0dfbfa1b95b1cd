"""``compensate``: correct weights or biases so that the SNN's currents match the ANN's."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._util.batches import check_one_input, images_in
from .._util.checks import check_num_steps
from .._util.devices import device_of
from .._util.shelf import Row, Shelf
from ..errors import ConfigError, DataError
from ..network import _pieces as pieces
from ..network._check_spiking import check_spiking
from ..network._network import SpikingNetwork
from ..network._step_bias import step_biases
from ._convert import with_step_biases
from ._correctors import Biases, Corrector, Steps, Weights
from ._layer_before import layer_before
from ._reference import Activation, Reference
from ._walk import Walk

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

    All images go through a layer, in groups, before the next layer is corrected. Memory holds one
    group at a time, however many images and steps there are. What waits for the next layer is in
    temporary files (in ``TMPDIR``): the spikes of one layer, a byte for each neuron, step and
    image, and, for ``weights``, all the ANN's activations.

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
        StateError: There is no room for the temporary files.

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
    # Least squares need gradients, which an inference mode around this call would forbid.
    with torch.inference_mode(False), torch.no_grad(), Shelf() as shelf:
        work = _Compensation(kind, copy.deepcopy(snn).eval(), ann, num_steps, shelf)
        for images in images_in(data, key=key):
            work.add((images.clone() if images.is_inference() else images).to(device_of(snn)))
        if not work.begun:
            raise DataError("the data is empty: there is no batch to compensate with")
        return work.done(progress=progress)


class _Compensation:
    """Corrects a network in place, with what waits meanwhile on a shelf."""

    def __init__(
        self,
        kind: type[Corrector],
        snn: SpikingNetwork,
        ann: nn.Module,
        num_steps: int,
        shelf: Shelf,
    ) -> None:
        net = snn.net
        self.snn, self.num_steps, self.shelf = snn, num_steps, shelf
        self.reference = Reference(ann, snn)
        self.correctors: dict[str | None, Corrector] = {
            name: kind(net, neuron, layer_before(net, name), num_steps, snn.spike_worth(name))
            for name, neuron in snn.neurons.items()
        }
        self.correctors[None] = kind(net, None, layer_before(net, None), num_steps)
        self.targets = {name: Row(shelf) for name in self.correctors}
        self.walk = Walk(net, snn.neurons.keys(), num_steps)
        self.begun = False

    def add(self, images: Tensor) -> None:
        """Take a batch, in groups; keep what the ANN makes of it."""
        self.begun = True
        for group in pieces.groups(self.snn.net, images, self.num_steps):
            self.walk.start(group, self.shelf)

            def see(name: str, seen: Activation) -> None:
                corrector = self.correctors[name]
                if corrector.layer is not None:
                    self.targets[name].append(corrector.target(seen))

            self.targets[None].append(self.reference.watched(group, see))

    def done(self, *, progress: bool) -> SpikingNetwork:
        """The network, with one layer after the other corrected."""
        bar = tqdm(
            self.walk.ends(), total=len(self.correctors), desc="compensate", unit="layer",
            disable=not progress, leave=False, delay=2,
        )  # fmt: skip
        for name in bar:
            if self.correctors[name].layer is not None:
                self._correct(name)
            self.targets[name].clear()
            if name is not None:
                self.walk.cross(self.correctors[name].shifts)
        self.snn.reset()
        shifts = {name: c.shifts for name, c in self.correctors.items()}
        biases = {str(name): bias for name, bias in shifts.items() if bias is not None}
        return with_step_biases(self.snn, biases) if biases else self.snn

    def _correct(self, name: str | None) -> None:
        """Correct the layer before the neuron at which all groups are."""
        corrector, kept = self.correctors[name], Row(self.shelf)
        take = corrector.take_output if name is None else corrector.take
        arrivals = self.walk.arrivals(corrector.layer)
        for arrived, target in zip(arrivals, self.targets[name], strict=True):
            taken = take(arrived, target)
            if taken is None:
                break
            kept.append(taken)
        else:
            (corrector.correct_output if name is None else corrector.correct)(kept)
        kept.clear()
