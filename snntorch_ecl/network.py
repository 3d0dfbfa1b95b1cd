"""``SpikingNetwork``: what ``convert`` returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import snntorch
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from .adapters import enlist_weakly
from .checks import check_num_steps
from .errors import ConfigError, InputError
from .graph import fold_batchnorm
from .guards import check_inputs, check_membranes
from .neuron import DualThreshold
from .pieces import teach_allocator
from .running import Runner, Stimulus
from .temporal import Temporal, reset

if TYPE_CHECKING:
    from .early_exit import Prediction
    from .summary import Summary

__all__ = ["Layer", "SpikingNetwork", "check_spiking"]


@dataclass(frozen=True)
class Layer:
    """A spiking layer of a converted network.

    Attributes:
        name: Qualified name, the same as that of the ``ThresholdClip`` it came from.
        levels: L that the activation was trained with; None if it was not quantised.
    """

    name: str
    levels: int | None


class _ResetHandle(snntorch.Leaky):
    """Lets ``snntorch.utils.reset`` reach everything with state in the network.

    snnTorch 1.0 looks for neurons among a network's *direct* children only, then zeroes ``mem``
    of all neurons alive; it knows nothing of max-pooling's running sum. This child, which never
    computes, is found first, and passes on either form of reset.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        nn.Module.__init__(self)
        self.layers = tuple(layers)  # a tuple hides them from nn.Module: they live in `net`
        enlist_weakly(self)

    @property
    def mem(self) -> Tensor:
        return torch.zeros(0)

    @mem.setter
    def mem(self, value: Tensor) -> None:
        self.reset_mem()

    def reset_mem(self) -> Tensor:
        for layer in self.layers:
            reset(layer)
        return self.mem

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        enlist_weakly(self)

    def extra_repr(self) -> str:
        return "passes snntorch.utils.reset on"


class SpikingNetwork(nn.Module):
    """A converted network: it owns the time loop, the reset and the readout.

    Its last layer does not spike; logits are that layer's output averaged over time, so one run
    of T steps holds the logits of every t ≤ T. A forward hook (snnTorch's probe) sees all steps of
    a layer at once, ``[T·B, ...]``, time-major; call :meth:`step` in a loop to see them one by one.
    ``net`` is the traced graph, whose readable code
    is ``print(snn.net.code)``.

    Args:
        net: The graph, with time inserted.
        layers: Its spiking layers, in the order in which they run.
        unit_spikes: Its neurons emit −1, 0 and +1, and what that is worth, θ, is in what reads
            them; else they emit spikes worth θ.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn = convert(ann)
        >>> images = torch.rand(3, 8)
        >>> snn.logits_over_time(images, num_steps=4).shape
        torch.Size([4, 3, 2])
        >>> snn.reset()
        >>> outputs = [snn.step(images) for _ in range(4)]
        >>> torch.allclose(torch.stack(outputs).mean(0), snn(images, num_steps=4))
        True
    """

    def __init__(
        self, net: GraphModule, layers: Iterable[Layer], *, unit_spikes: bool = False
    ) -> None:
        super().__init__()
        self.snntorch_reset = _ResetHandle(m for m in net.modules() if isinstance(m, Temporal))
        self.net = net
        self.layers = tuple(layers)
        self.unit_spikes = unit_spikes
        self._arity = sum(n.op == "placeholder" for n in net.graph.nodes) - 2
        self._runner = Runner()

    def fuse(self, fused: bool = True) -> SpikingNetwork:
        """Compile the neurons' time loop, for long runs without gradients; spikes stay equal.

        (In half precision they may differ: the compiled loop rounds less.) The first run of each
        length then takes some seconds longer.

        Args:
            fused: False goes back to the loop as it was.

        Returns:
            The network itself.
        """
        for neuron in self.neurons.values():
            neuron.fused = fused
        if fused:
            teach_allocator()
        return self

    def fold_batchnorms(self) -> SpikingNetwork:
        """Make batch norms part of the convolutions before them, as ``convert`` does by default.

        For a network converted with ``fold_batchnorms=False``, after it was fine-tuned: in eval
        mode it computes the same, with fewer operations.

        Returns:
            The network itself, in eval mode.
        """
        self.eval()
        self.net = fold_batchnorm(self.net)
        return self

    # ------------------------------------------------------------------------------ running

    def forward(self, *inputs: Tensor, num_steps: int, piece: int | None = None) -> Any:
        """Present the inputs as a constant current for T steps, from a fresh state.

        Args:
            *inputs: ``[B, ...]``, as the ANN takes them.
            num_steps: T ≥ 1.
            piece: Steps to run at once; state is carried over and spikes are the same. None runs
                all at once where gradients are recorded or hooks look on, else as many as keep
                the largest tensor small, and as many images: memory then does not grow with T.

        Returns:
            What the ANN returns, each tensor averaged over the T steps.

        Raises:
            ConfigError: num_steps < 1, or piece < 1.
            InputError: A wrong number of inputs, different batch sizes, NaN or infinity.
            StateError: A membrane overflowed; names the layer.
        """
        check_num_steps(num_steps)
        check_inputs(inputs, self._arity)
        return self._runner.mean(self.net, Stimulus(inputs, num_steps, piece=piece))

    def logits_over_time(self, *inputs: Tensor, num_steps: int, piece: int | None = None) -> Any:
        """As :meth:`forward`, for every number of steps up to T.

        Args:
            *inputs: ``[B, ...]``.
            num_steps: T ≥ 1.
            piece: As for :meth:`forward`.

        Returns:
            ``[T, B, ...]``: entry t is the average over steps 1 … t+1.
        """
        check_num_steps(num_steps)
        check_inputs(inputs, self._arity)
        return self._runner.means_over_time(self.net, Stimulus(inputs, num_steps, piece=piece))

    def forward_steps(self, *inputs: Tensor, piece: int | None = None) -> Any:
        """Run on input that changes over time, from a fresh state.

        Args:
            *inputs: ``[T, B, ...]``, one input for each step, such as ``snntorch.spikegen`` makes.
            piece: As for :meth:`forward`.

        Returns:
            The output averaged over the T steps.

        Raises:
            ConfigError: piece < 1.
            InputError: As :meth:`forward`; or the inputs differ in T.
        """
        check_inputs(inputs, self._arity, leading="[T, B, ...]")
        if any(x.ndim < 2 or x.shape[1] < 1 for x in inputs):
            shapes = [list(x.shape) for x in inputs]
            raise InputError(f"forward_steps needs inputs of shape [T, B >= 1, ...]; got {shapes}")
        for index, x in enumerate(inputs):
            if x.shape[1] != inputs[0].shape[1]:
                raise InputError(
                    f"inputs 0 and {index} differ in batch size: {inputs[0].shape[1]} and "
                    f"{x.shape[1]}"
                )
        rows = tuple(x.flatten(0, 1) for x in inputs)
        stimulus = Stimulus(rows, inputs[0].shape[0], held=False, piece=piece)
        return self._runner.mean(self.net, stimulus)

    def step(self, *inputs: Tensor) -> Any:
        """Advance by one step, going on from the present state; call :meth:`reset` before new data.

        Args:
            *inputs: ``[B, ...]``, the input of this step.

        Returns:
            This step's output. The average of the steps' outputs is what :meth:`forward` returns.

        Raises:
            InputError, StateError: As :meth:`forward`.
        """
        check_inputs(inputs, self._arity)
        output = self.net(*inputs, num_steps=1, held=1)
        check_membranes(self.neurons)
        return output

    def predict(
        self, *inputs: Tensor, max_steps: int, confidence: float = 0.9, min_steps: int = 2
    ) -> Prediction:
        """Classify; each image stops as soon as the network is sure of it, and costs no more.

        Args:
            *inputs: ``[B, ...]``, as the ANN takes them.
            max_steps: T after which every image stops.
            confidence: Probability (softmax of the averaged logits) at which an image stops,
                within (0, 1]. Choose it from :func:`snntorch_ecl.early_exit.exit_curve`.
            min_steps: No image stops before. After one step, in which every neuron says all or
                nothing, networks are sure of wrong answers.

        Returns:
            Class, confidence and steps of each image; ``mean_steps``.

        Raises:
            ConfigError: max_steps or min_steps < 1, or a confidence outside its range.
            InputError: As :meth:`forward`; or the output is not logits ``[B, classes]``.
            StateError: As :meth:`forward`.
        """
        from .early_exit import predict

        return predict(
            self, *inputs, max_steps=max_steps, confidence=confidence, min_steps=min_steps
        )

    def reset(self) -> None:
        """Forget the running sequence, in every layer with state."""
        reset(self.net)

    # -------------------------------------------------------------------------- inspection

    @property
    def neurons(self) -> dict[str, DualThreshold]:
        """The dual-threshold neurons by their layer's name, in the order in which they run."""
        modules = ((layer.name, self.net.get_submodule(layer.name)) for layer in self.layers)
        return {name: m for name, m in modules if isinstance(m, DualThreshold)}

    def spike_worth(self, name: str) -> Tensor:
        """What one emitted spike of a neuron stands for, in the unit of its activation.

        Args:
            name: The neuron's layer.

        Returns:
            θ, ``[]`` or ``[C]``, with ``unit_spikes``; else 1: the spikes are worth θ themselves.
        """
        threshold = self.neurons[name].threshold.detach()
        return threshold if self.unit_spikes else torch.ones_like(threshold)

    def summary(self, *inputs: Tensor) -> Summary:
        """Describe the network layer by layer.

        Args:
            *inputs: An example input ``[B, ...]``, from which shapes are measured; without it
                shapes are left open. State is reset.

        Returns:
            A table: ``print`` it, or take ``to_dict()``.
        """
        from .summary import summarise

        return summarise(self, *inputs)

    # ------------------------------------------------------------------------------- files

    def save(self, path: str | Path) -> Path:
        """Write weights, thresholds and settings to a safetensors file, all or nothing.

        Args:
            path: The file; a folder that is missing is made.

        Returns:
            The path written.
        """
        from .storage import save

        return save(self, path)

    @staticmethod
    def load(path: str | Path, model: nn.Module, **options: Any) -> SpikingNetwork:
        """Read a network back; see :func:`snntorch_ecl.storage.load`."""
        from .storage import load

        return load(path, model, **options)


def check_spiking(network: object) -> None:
    """Raise :class:`ConfigError` unless a network is a spiking one."""
    if not isinstance(getattr(network, "_orig_mod", network), SpikingNetwork):  # compiled
        raise ConfigError(
            "snn must be a SpikingNetwork, what convert returns (ANN and SNN exchanged?); got a "
            f"{type(network).__name__}"
        )
