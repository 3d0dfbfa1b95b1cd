"""Correct one layer after the other, each judged on images that were held out."""

from __future__ import annotations

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
from ._convert import with_step_biases
from ._correctors import Change, Corrector
from ._layer_before import layer_before
from ._reference import Activation, Reference
from ._walk import Walk

# Of every four images the one that is held out, and the shares of a correction that are tried.
_HELD = 1
_SHARES = (1.0, 0.5, 0.25)


class Error:
    """How far some values are from what is wanted, summed over groups."""

    def __init__(self) -> None:
        self.squared, self.wanted = 0.0, 0.0

    def add(self, found: Any, wanted: Any) -> None:
        """Add a group: tensors, or trees of tensors."""
        for value, goal in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
            if isinstance(goal, Tensor):
                self.squared += float((value - goal).square().sum())
                self.wanted += float(goal.square().sum())

    @property
    def relative(self) -> float:
        """As a share of what is wanted."""
        return float((self.squared / max(self.wanted, SMALLEST_THRESHOLD)) ** 0.5)


def closer(found: Error, before: Error) -> bool:
    """Whether a correction is worth keeping."""
    return found.squared < before.squared


class LayerByLayer:
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
        self.walk = Walk(net, snn.neurons.keys(), num_steps)
        self.images = 0
        self.fit: list[int] = []
        self.held: list[int] = []
        # What the fits aim at, and what they are judged by: for the groups in fit, and in held.
        self.targets = {name: Row(shelf) for name in self.correctors}
        self.wanted = {name: Row(shelf) for name in self.correctors}
        self.before, self.after = Error(), Error()

    def add(self, images: Tensor) -> None:
        """Take a batch: every fourth image is held out; the ANN says what is wanted of each."""
        held = (torch.arange(len(images)) + self.images) % 4 == _HELD
        self.images += len(images)
        for part, numbers in ((images[~held], self.fit), (images[held], self.held)):
            if not len(part):
                continue
            for group in pieces.groups(self.snn.net, part, self.num_steps):
                numbers.append(self.walk.start(group, self.shelf))
                self._ask(group, judged=numbers is self.held)

    def _ask(self, group: Tensor, *, judged: bool) -> None:
        """Keep what the ANN makes of a group."""

        def see(name: str, seen: Activation) -> None:
            corrector = self.correctors[name]
            if corrector.layer is not None:
                rows = self.wanted if judged else self.targets
                rows[name].append((seen.output if judged else corrector.target(seen),))

        answer = self.reference.watched(group, see)
        (self.wanted if judged else self.targets)[None].append((answer,))
        if judged:
            self.before.add(self.snn(group, num_steps=self.num_steps), answer)

    @property
    def held_out(self) -> int:
        """How many of the images are held out."""
        return self.images // 4 + (self.images % 4 > _HELD)

    @property
    def kept(self) -> bool:
        """Whether the outputs came closer to the ANN's."""
        return closer(self.after, self.before)

    def done(self, *, progress: bool) -> tuple[SpikingNetwork, tuple[LayerCorrection, ...]]:
        """The network, with one layer after the other corrected."""
        bar = tqdm(
            self.walk.ends(), total=len(self.correctors), desc="compensate", unit="layer",
            disable=not progress, leave=False, delay=2,
        )  # fmt: skip
        layers = []
        for name in bar:
            corrector = self.correctors[name]
            change = None if corrector.layer is None else self._correction(name)
            if change is not None:
                layers.append(self._judged(name, change))
            if name is None:
                self.after = self._error(name)
            else:
                self.walk.cross(corrector.shifts)
            self.targets[name].clear()
            self.wanted[name].clear()
        self.snn.reset()
        shifts = {name: c.shifts for name, c in self.correctors.items()}
        biases = {str(name): bias for name, bias in shifts.items() if bias is not None}
        better = with_step_biases(self.snn, biases) if biases else self.snn
        return better, tuple(layers)

    def _correction(self, name: str | None) -> Change | None:
        """What to change before the neuron at which all groups are; None if nothing can be."""
        corrector, kept = self.correctors[name], Row(self.shelf)
        take = corrector.take_output if name is None else corrector.take
        change = None
        arrivals = self.walk.arrivals(self.fit, corrector.layer)
        for arrived, (target,) in zip(arrivals, self.targets[name], strict=True):
            taken = take(arrived, target)
            if taken is None:
                break
            kept.append(taken)
        else:
            fit = corrector.correction_of_output if name is None else corrector.correction
            change = fit(kept)
        kept.clear()
        return change

    def _judged(self, name: str | None, change: Change) -> LayerCorrection:
        """Apply as much of a correction as brings the images held out closer to the ANN."""
        corrector = self.correctors[name]
        before = after = self._error(name)
        kept = 0.0
        for share in _SHARES:
            corrector.apply(change, share)
            found = self._error(name)
            if closer(found, before):
                after, kept = found, share
                break
        else:
            corrector.apply(change, 0.0)
        return LayerCorrection(name or "output", before.relative, after.relative, kept)

    def _error(self, name: str | None) -> Error:
        """How far the neuron at which all groups are is from the ANN, on the images held out."""
        error, corrector = Error(), self.correctors[name]
        means = self.walk.means(self.held, corrector.shifts)
        pairs = zip(means, self.wanted[name], strict=True)
        if name is None:
            for found, (wanted,) in pairs:
                error.add(found, wanted)
            return error
        for found, (wanted,) in pairs:
            error.add(
                *map(corrector.judged, (found * over_channels(corrector.worth, found), wanted))
            )
        return error
