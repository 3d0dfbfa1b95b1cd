"""``SpikingNetwork``: what ``convert`` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import snntorch
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils._pytree import tree_map

from .adapters import enlist_weakly
from .checks import check_num_steps
from .errors import InputError, StateError
from .graph import fold_batchnorm
from .neuron import DualThreshold
from .temporal import Temporal, reset, unfold

if TYPE_CHECKING:
    from .early_exit import Prediction
    from .summary import Summary

__all__ = ["Layer", "SpikingNetwork"]


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

    def __init__(self, net: GraphModule, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.snntorch_reset = _ResetHandle(m for m in net.modules() if isinstance(m, Temporal))
        self.net = net
        self.layers = tuple(layers)
        self._arity = sum(n.op == "placeholder" for n in net.graph.nodes) - 2

    def fuse(self, fused: bool = True) -> SpikingNetwork:
        """Compile the neurons' time loop, for long runs without gradients; spikes stay equal.

        The first run then takes some seconds longer. On a CPU the neurons themselves take about a
        tenth of the time; convolutions and the rest take what they took.

        Args:
            fused: False goes back to the loop as it was.

        Returns:
            The network itself.
        """
        for neuron in self.neurons.values():
            neuron.fused = fused
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

    def forward(self, *inputs: Tensor, num_steps: int) -> Any:
        """Present the inputs as a constant current for T steps, from a fresh state.

        Args:
            *inputs: ``[B, ...]``, as the ANN takes them.
            num_steps: T ≥ 1.

        Returns:
            What the ANN returns, each tensor averaged over the T steps.

        Raises:
            ConfigError: num_steps < 1.
            InputError: A wrong number of inputs, different batch sizes, NaN or infinity.
            StateError: A membrane overflowed; names the layer.
        """
        return tree_map(_last, self.logits_over_time(*inputs, num_steps=num_steps))

    def logits_over_time(self, *inputs: Tensor, num_steps: int) -> Any:
        """As :meth:`forward`, for every number of steps up to T.

        Args:
            *inputs: ``[B, ...]``.
            num_steps: T ≥ 1.

        Returns:
            ``[T, B, ...]``: entry t is the average over steps 1 … t+1.
        """
        check_num_steps(num_steps)
        self._check(inputs)
        return self._run(inputs, num_steps, held=num_steps)

    def forward_steps(self, *inputs: Tensor) -> Any:
        """Run on input that changes over time, from a fresh state.

        Args:
            *inputs: ``[T, B, ...]``, one input for each step, such as ``snntorch.spikegen`` makes.

        Returns:
            The output averaged over the T steps.

        Raises:
            InputError: As :meth:`forward`; or the inputs differ in T.
        """
        self._check(inputs, leading="[T, B, ...]")
        if any(x.ndim < 2 or x.shape[1] < 1 for x in inputs):
            shapes = [list(x.shape) for x in inputs]
            raise InputError(f"forward_steps needs inputs of shape [T, B >= 1, ...]; got {shapes}")
        for index, x in enumerate(inputs):
            if x.shape[1] != inputs[0].shape[1]:
                raise InputError(
                    f"inputs 0 and {index} differ in batch size: {inputs[0].shape[1]} and "
                    f"{x.shape[1]}"
                )
        num_steps = inputs[0].shape[0]
        rows = tuple(x.flatten(0, 1) for x in inputs)
        return tree_map(_last, self._run(rows, num_steps, held=1))

    def step(self, *inputs: Tensor) -> Any:
        """Advance by one step, going on from the present state; call :meth:`reset` before new data.

        Args:
            *inputs: ``[B, ...]``, the input of this step.

        Returns:
            This step's output. The average of the steps' outputs is what :meth:`forward` returns.
        """
        self._check(inputs)
        return self.net(*inputs, num_steps=1, held=1)

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
        """
        from .early_exit import predict

        return predict(
            self, *inputs, max_steps=max_steps, confidence=confidence, min_steps=min_steps
        )

    def reset(self) -> None:
        """Forget the running sequence, in every layer with state."""
        reset(self.net)

    def _run(self, inputs: tuple[Tensor, ...], num_steps: int, held: int) -> Any:
        self.reset()
        output = self.net(*inputs, num_steps=num_steps, held=held)
        self._check_state()
        return tree_map(_averages(num_steps), output)

    # ------------------------------------------------------------------------------- checks

    def _check(self, inputs: tuple[Tensor, ...], leading: str = "[B, ...]") -> None:
        if len(inputs) != self._arity:
            raise InputError(f"this network takes {self._arity} input(s); got {len(inputs)}")
        for index, x in enumerate(inputs):
            if not isinstance(x, Tensor) or x.ndim < 1 or x.shape[0] < 1:
                what = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise InputError(f"input {index} must be a tensor of shape {leading}; got {what}")
            if x.shape[0] != inputs[0].shape[0]:
                raise InputError(
                    f"inputs 0 and {index} differ in dimension 0: {inputs[0].shape[0]} and "
                    f"{x.shape[0]}"
                )
            if torch.compiler.is_compiling() or not x.is_floating_point():
                continue
            if not bool(x.isfinite().all()):
                raise InputError(
                    f"input {index} of shape {list(x.shape)} holds NaN or infinity; a spiking "
                    "network would turn it into silence"
                )

    def _check_state(self) -> None:
        """Comparisons with NaN are false, so an overflow would only look like a silent layer."""
        if torch.compiler.is_compiling():
            return
        neurons = self.neurons
        if not neurons:
            return
        finite = torch.stack([n.mem.detach().isfinite().all() for n in neurons.values()])
        if not bool(finite.all()):
            name = list(neurons)[int((~finite).nonzero()[0])]
            raise StateError(
                f"the membrane of {name} is NaN or infinite: currents overflow "
                f"{neurons[name].mem.dtype}; check the weights before it, or run in float32"
            )

    # -------------------------------------------------------------------------- inspection

    @property
    def neurons(self) -> dict[str, DualThreshold]:
        """The dual-threshold neurons by their layer's name, in the order in which they run."""
        modules = ((layer.name, self.net.get_submodule(layer.name)) for layer in self.layers)
        return {name: m for name, m in modules if isinstance(m, DualThreshold)}

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


def _last(value: Any) -> Any:
    return value[-1] if isinstance(value, Tensor) else value


def _averages(num_steps: int) -> Callable[[Any], Any]:
    """Running averages over time of a time-major tensor ``[T·B, ...]``."""

    def average(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        steps = unfold(value, num_steps)
        count = torch.arange(1, num_steps + 1, device=value.device, dtype=value.dtype)
        return steps.cumsum(0) / count.view(-1, *[1] * (steps.ndim - 1))

    return average
