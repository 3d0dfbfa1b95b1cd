"""One held-out digit of the demo, step by step: what both networks answer, and who spikes when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from .._util.figures import NEGATIVE, POSITIVE, new_figure
from ..conversion._reference import Reference
from ..network import Observer, Seen, SpikingNetwork
from ..nn._temporal import unfold
from ._ablation import DUAL, PLAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 16
"""Neurons of a raster: few enough that each spike can be seen."""


@dataclass(frozen=True)
class DigitRun:
    """One digit as the ANN and both spiking networks see it.

    Attributes:
        image: Pixels ``[28, 28]``.
        label: What it is.
        ann: The ANN's answer.
        answers: The spiking network's answer at t = 1 … T, by neuron.
        layer: Name of the layer that takes most spikes back.
        spikes: Its spikes ``[T, neurons]``, −1, 0 or +1, by neuron.
        levels: The level, 0 to L, that the ANN's activation has there, ``[neurons]``.
    """

    image: Tensor
    label: int
    ann: int
    answers: Mapping[str, tuple[int, ...]]
    layer: str
    spikes: Mapping[str, Tensor]
    levels: Tensor

    def right(self, name: str) -> float:
        """Share of the layer's neurons whose net count is the ANN's level."""
        return float((self.spikes[name].sum(0) == self.levels).float().mean())

    def shown(self) -> Tensor:
        """Half of them take most spikes back, half spike most of the others; by level."""
        back = (self.spikes[DUAL] < 0).sum(0)
        busy = torch.where(back > 0, -1, self.spikes[DUAL].abs().sum(0))
        half = min(_SHOWN // 2, len(back))
        chosen = {i for counts in (back, busy) for i in counts.topk(half).indices.tolist()}
        return torch.tensor(sorted(chosen, key=lambda i: (float(self.levels[i]), i)))


class _Spikes(Observer):
    """Keeps the spikes of some layers, for one image."""

    def __init__(self, snn: SpikingNetwork) -> None:
        super().__init__(tuple(snn.neurons))
        self._pieces: dict[str, list[Tensor]] = {name: [] for name in snn.neurons}

    def see(self, seen: Seen) -> None:
        """Keep the signs of one piece."""
        spikes = unfold(seen.output, seen.num_steps)[:, 0].sign()
        self._pieces[seen.name].append(spikes.flatten(1))

    def found(self) -> dict[str, Tensor]:
        """Spikes ``[T, neurons]`` of each layer."""
        return {name: torch.cat(pieces) for name, pieces in self._pieces.items()}


def spread(data: Dataset[Any], count: int) -> list[tuple[Tensor, Any]]:
    """So many samples, spread evenly: the held-out digits are sorted by class."""
    total = len(data)  # type: ignore[arg-type]
    return [data[i] for i in range(0, total, max(1, total // count))]


def digit_run(
    networks: Mapping[str, SpikingNetwork],
    ann: nn.Module,
    test: Dataset[Any],
    *,
    levels: int,
) -> DigitRun:
    """The first of 100 digits that the dual threshold gets right at T = L and IF does not.

    The first of all if there is none.
    """
    few = spread(test, 100)
    images = torch.stack([image for image, _ in few])
    labels = torch.tensor([int(label) for _, label in few])
    with torch.inference_mode():
        right = {
            name: snn(images, num_steps=levels).argmax(1) == labels
            for name, snn in networks.items()
        }
        index = int((right[DUAL] & ~right[PLAIN]).int().argmax())
        image = images[index : index + 1]
        answers, spikes = {}, {}
        for name, snn in networks.items():
            seen = _Spikes(snn)
            over_time = snn.logits_over_time(image, num_steps=levels, observers=[seen])
            answers[name] = tuple(over_time[:, 0].argmax(1).tolist())
            spikes[name] = seen.found()
        layer = max(spikes[DUAL], key=lambda key: float((spikes[DUAL][key] < 0).float().mean()))
        logits, activations = Reference(ann, networks[DUAL]).run(image)
        theta = networks[DUAL].neurons[layer].threshold
    return DigitRun(
        image=image[0, 0],
        label=int(labels[index]),
        ann=int(logits.argmax(1)),
        answers=answers,
        layer=layer,
        spikes={name: found[layer] for name, found in spikes.items()},
        levels=(activations[layer].output * levels / theta).round().flatten(),
    )


def draw_digit(run: DigitRun) -> Figure:
    """The digit itself."""
    figure, axes = new_figure(size=(1.6, 1.6))
    axes.imshow(run.image.numpy(), cmap="gray")
    axes.axis("off")
    return figure


def draw_raster(run: DigitRun, name: str) -> Figure:
    """The spikes of some neurons, their net counts, and the levels that the ANN has there."""
    figure, axes = new_figure(size=(4.6, 4.8))
    chosen = run.shown()
    spikes, levels = run.spikes[name][:, chosen], run.levels[chosen]
    steps = spikes.shape[0]
    for sign, marker, colour, label in ((1, "^", POSITIVE, "+1"), (-1, "v", NEGATIVE, "−1")):
        step, neuron = (spikes == sign).nonzero(as_tuple=True)
        axes.scatter(step + 1, neuron, s=46, marker=marker, color=colour, label=label)
    _counts_beside(axes, spikes.sum(0), levels, steps)
    axes.set_ylim(-0.7, len(chosen) - 0.3)
    axes.set_yticks(range(len(chosen)), [str(row + 1) for row in range(len(chosen))], fontsize=8)
    axes.set_xlabel("time step")
    axes.set_ylabel("neuron, sorted by the ANN's level")
    axes.set_title(name, fontsize=11, loc="left")
    axes.tick_params(length=0)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


def _counts_beside(axes: Axes, counts: Tensor, levels: Tensor, steps: int) -> None:
    """At the right, the net counts, orange where they are wrong, and the ANN's levels."""
    count_at, level_at = steps + 1.2, steps + 2.3
    for row, (count, level) in enumerate(zip(counts.tolist(), levels.tolist(), strict=True)):
        wrong: dict[str, Any] = {"color": NEGATIVE, "weight": "bold"} if count != level else {}
        axes.text(count_at, row, f"{count:.0f}", ha="center", va="center", fontsize=9, **wrong)
        axes.text(level_at, row, f"{level:.0f}", ha="center", va="center", fontsize=9)
    ticks = [*range(1, steps + 1), count_at, level_at]
    axes.set_xticks(ticks, [*(str(t) for t in range(1, steps + 1)), "sum", "ANN"])
    axes.axvline(steps + 0.6, color="#b0b0b0", linewidth=0.8)
    axes.set_xlim(0.4, steps + 2.9)
