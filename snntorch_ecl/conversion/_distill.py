"""Fit all of a spiking network at once to its ANN, on unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._util.checks import SMALLEST_THRESHOLD
from .._util.shelf import Row, Shelf
from .._util.torch_internals import tree_leaves
from ..functional._channels import over_channels
from ..network import _pieces as pieces
from ..network._network import SpikingNetwork
from ._compensation import LayerCorrection
from ._layer_by_layer import Error, closer
from ._rates import Replay, measured
from ._reference import Reference

# Of every eight images the one that is held out.
_EVERY, _HELD = 8, 1
_BATCH = 8
# Largest step of Adam, as a share of a tensor's root mean square.
_RATE, _RATE_OF_THRESHOLDS = 1e-3, 3e-3
# Images are shifted by at most this part of their height and width.
_SHIFT = 8
# Updates of neurons from which compiling their loops pays: that takes some 20 s.
_WORTH_COMPILING = 5_000_000_000


class Distillation:
    """Trains a network in place; the images are on a shelf meanwhile."""

    def __init__(
        self, snn: SpikingNetwork, ann: nn.Module, num_steps: int, shelf: Shelf, epochs: int
    ) -> None:
        self.snn, self.num_steps, self._epochs = snn, num_steps, epochs
        self.reference = Reference(ann, snn)
        self.fit, self.held = Row(shelf), Row(shelf)
        self.images = 0
        self.before, self.after = Error(), Error()
        self._at_once = 1
        self._neurons = 0  # of the network
        self._errors: dict[str, Error] = {}

    def add(self, images: Tensor) -> None:
        """Take a batch; the network's errors on images held out are counted at once."""
        if not self.images:
            # Of one step: gradients are of means, and runs with spikes split themselves.
            self._at_once = len(pieces.groups(self.snn.net, images, 1)[0])
        for image in torch.split(images, 1):
            (self.held if self.images % _EVERY == _HELD else self.fit).append(image)
            self.images += 1

    @property
    def held_out(self) -> int:
        """How many of the images are held out."""
        return len(self.held)

    @property
    def kept(self) -> bool:
        """Whether the outputs came closer to the ANN's."""
        return closer(self.after, self.before)

    def done(self, *, progress: bool) -> tuple[SpikingNetwork, tuple[LayerCorrection, ...]]:
        """The trained network, and how far each layer was and is from the ANN."""
        self.before, self._errors = self._judged()
        self._keep(self.before, self._errors)
        batches = math.ceil(len(self.fit) / _BATCH)
        bar = tqdm(
            total=2 * self._epochs * batches, desc="compensate", unit="batch",
            disable=not progress, leave=False, delay=2,
        )  # fmt: skip
        with bar, self._compiled():
            # Constant currents first: they cost no more than a run of the ANN.
            self._train(bar, settled=True)
            self._train(bar, settled=False)
        self.snn.load_state_dict(self._state)
        self.snn.reset()
        pairs = {name: (before, self._left[name]) for name, before in self._errors.items()}
        return self.snn, tuple(
            LayerCorrection(name, before.relative, after.relative, float(self.kept))
            for name, (before, after) in {**pairs, "output": (self.before, self.after)}.items()
        )

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Compile the neurons' time loops, if the training is long enough to gain by it."""
        runs = self.num_steps * len(self.fit) * self._epochs
        neurons = self.snn.neurons.values()
        before = [neuron.fused for neuron in neurons]
        for neuron, fused in zip(neurons, before, strict=True):
            neuron.fused = fused or self._neurons * runs > _WORTH_COMPILING
        yield
        for neuron, fused in zip(neurons, before, strict=True):
            neuron.fused = fused

    def _judged(self) -> tuple[Error, dict[str, Error]]:
        """How far outputs, and mean outputs of layers, are from the ANN on images held out."""
        output, layers = Error(), {name: Error() for name in self.snn.neurons}
        for images in _batches(self.held, torch.arange(len(self.held)), self._at_once):
            wanted, activations = self.reference.run(images)
            found, means = measured(self.snn, images, self.num_steps)
            output.add(found, wanted)
            self._neurons = sum(mean[0].numel() for mean in means.values())
            for name, mean in means.items():
                layers[name].add(mean * self._worth(name, mean), activations[name].output)
        return output, layers

    def _train(self, bar: Any, *, settled: bool) -> None:
        """All epochs of one kind, with steps that grow smaller towards the end."""
        weights = list(self.snn.net.parameters())
        flags = [weight.requires_grad for weight in weights]
        thresholds = self._thresholds()
        rates = [(w.requires_grad_(), _RATE) for w in weights]
        rates += [(t, _RATE_OF_THRESHOLDS) for t in thresholds.values()]
        groups = [{"params": [t], "lr": rate * _size(t)} for t, rate in rates]
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
        total = self._epochs * math.ceil(len(self.fit) / _BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(total, 1))
        replay = Replay(self.snn, thresholds, self.num_steps)
        generator = torch.Generator().manual_seed(0)
        for epoch in range(self._epochs):
            order = torch.randperm(len(self.fit), generator=generator)
            for numbers in torch.split(order, _BATCH):
                optimiser.zero_grad()
                for images in _batches(self.fit, numbers, self._at_once):
                    images = varied(images, generator)
                    self._add_gradients(replay, images, len(numbers), settled=settled)
                optimiser.step()
                schedule.step()
                self._keep_positive(thresholds)
                bar.update()
            if not settled or epoch == self._epochs - 1:
                error, layers = self._judged()
                if closer(error, self.after):
                    self._keep(error, layers)
        for weight, flag in zip(weights, flags, strict=True):
            weight.requires_grad_(flag).grad = None

    def _keep(self, error: Error, layers: dict[str, Error]) -> None:
        """This is the best network so far: few images are soon learned by heart."""
        self.after, self._left = error, layers
        self._state = {name: v.detach().clone() for name, v in self.snn.state_dict().items()}

    def _thresholds(self) -> dict[str, nn.Parameter]:
        """Each θ that spikes are worth, as a parameter in the same memory."""
        return {
            name: nn.Parameter(neuron.threshold)
            for name, neuron in self.snn.neurons.items()
            if torch.equal(neuron.threshold, neuron.graded_spikes_factor)
        }

    def _add_gradients(self, replay: Replay, images: Tensor, batch: int, *, settled: bool) -> None:
        """Gradients of how far outputs and layers are from the ANN, for a part of a batch."""
        wanted, activations = self.reference.run(images)
        given = None if settled else measured(self.snn, images, self.num_steps)[1]
        with torch.enable_grad():
            found, means = replay.means(images, given)
            loss = torch.zeros((), device=images.device)
            for value, goal in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
                if isinstance(goal, Tensor):
                    loss = loss + (value - goal).square().sum() * _per(self.before)
            for name, mean in means.items():
                goal = activations[name].output
                error = (mean * self._worth(name, mean) - goal).square().sum()
                loss = loss + error * _per(self._errors[name]) / len(means)
            torch.autograd.backward(loss * len(self.held) / batch)

    def _worth(self, name: str, values: Tensor) -> Tensor:
        return over_channels(self.snn.spike_worth(name), values)

    def _keep_positive(self, thresholds: dict[str, nn.Parameter]) -> None:
        """After a step: θ > 0, and spikes are worth the new θ."""
        for name, threshold in thresholds.items():
            threshold.data.clamp_(min=SMALLEST_THRESHOLD)
            self.snn.neurons[name].graded_spikes_factor.copy_(threshold.detach())


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images ``[B, C, H, W]``, each mirrored or not and shifted a little; others as they are.

    The ANN says what is wanted of the changed image, so it need not mean the same.
    """
    if images.ndim != 4 or not images.is_floating_point():
        return images
    height, width = images.shape[2:]
    most = (height // _SHIFT, width // _SHIFT)
    wide = nn.functional.pad(images, (most[1], most[1], most[0], most[0]), mode="reflect")
    found = []
    for image in wide:
        top, left = (int(torch.randint(2 * m + 1, (), generator=generator)) for m in most)
        part = image[:, top : top + height, left : left + width]
        mirrored = bool(torch.randint(2, (), generator=generator))
        found.append(part.flip(2) if mirrored else part)
    return torch.stack(found)


def _size(tensor: Tensor) -> float:
    """Root mean square; never 0, so that zeros can be trained too."""
    return max(float(tensor.detach().square().mean().sqrt()), SMALLEST_THRESHOLD)


def _per(error: Error) -> float:
    """The weight that makes errors relative; 0 where the ANN gives nothing on images held out."""
    return 1 / error.wanted if error.wanted > SMALLEST_THRESHOLD else 0.0


def _batches(images: Row, numbers: Tensor, size: int) -> Iterator[Tensor]:
    """Some images, a few at a time."""
    for part in torch.split(numbers, size):
        yield torch.cat([images[int(number)] for number in part])
