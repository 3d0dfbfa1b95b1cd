"""``SpikingNetwork``: what ``convert`` returns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from .._util.turns import Turn
from ..graph._fold import fold_batchnorm
from ..graph._trace import finish
from ..nn import DualThreshold, reset
from ..nn._snntorch import ResetHandle
from ._compile import CompilesRuns
from ._explained import explained
from ._files import write_network
from ._guards import Finite, check_inputs, measuring, see_inputs
from ._layer import Layer, Norms
from ._observe import Observer
from ._predict import Prediction, predict
from ._runner import Runner, constant, one_step, sequence
from ._settle import Settles
from ._step_bias import step_biases
from ._summary import ShapeObserver, Summary, overview, summarise


class SpikingNetwork(Settles, CompilesRuns):
    """A converted network, with the loop over time, the reset and the readout.

    The last layer does not spike; logits are its output averaged over time, so one run of T steps
    gives the logits of every t ≤ T. A forward hook (snnTorch's probe) sees all steps of a layer at
    once, ``[T·B, ...]``, time-major. To see single steps, call :meth:`step`; to save memory, pass
    an :class:`~snntorch_ecl.network.Observer`. ``print(snn.net.code)`` shows the traced graph.

    Args:
        net: The graph, with time inserted.
        layers: Its spiking layers, in the order in which they run.
        unit_spikes: Whether the neurons emit −1, 0 and +1, and the layers that read them contain
            θ; otherwise they emit spikes worth θ.
        norms: Whether batch norms were folded at conversion, kept, or folded later.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn, images = convert(ann), torch.rand(3, 8)
        >>> snn.logits_over_time(images, num_steps=4).shape
        torch.Size([4, 3, 2])
        >>> snn.reset()
        >>> outputs = [snn.step(images) for _ in range(4)]
        >>> torch.allclose(torch.stack(outputs).mean(0), snn(images, num_steps=4))
        True
    """

    compensation: Any = None  # the record of ecl.compensate, where that made the network

    def __init__(
        self,
        net: GraphModule,
        layers: Iterable[Layer],
        *,
        unit_spikes: bool = False,
        norms: Norms = "folded",
    ) -> None:
        super().__init__()
        self.net = net
        self.snntorch_reset = ResetHandle()  # the last: snntorch.backprop asks for that
        self.layers = tuple(layers)
        self.unit_spikes = unit_spikes
        self.norms: Norms = norms
        self._arity = sum(n.op == "placeholder" for n in net.graph.nodes) - 2
        self._runner = Runner()
        self._turn = Turn()

    def fold_batchnorms(self, *, kept: Collection[str] = ()) -> SpikingNetwork:
        """Fold batch norms into the convolutions before them, as ``convert`` does by default.

        For a network converted with ``fold_batchnorms=False`` and then fine-tuned. In eval mode,
        which this sets, it computes the same with fewer operations. Returns the network itself.

        Args:
            kept: Names of batch norms that stay as they are.
        """
        self.eval()
        self.net = finish(fold_batchnorm(self.net, kept))
        self._runner.forget_compiled()
        self.norms = "folded" if self.norms == "folded" else "folded later"
        return self

    def forward(
        self, *inputs: Tensor, num_steps: int | None = None, piece: int | None = None
    ) -> Any:
        """Present the inputs as a constant current for T steps, from a fresh state.

        The neurons' state after it can be read, and :meth:`step` goes on from it; but without
        gradients, hooks on layers and ``piece`` a run of one step keeps none, as that takes longer
        than its spikes. :meth:`step` does, after :meth:`reset`.

        Args:
            *inputs: ``[B, ...]``, as the ANN takes them.
            num_steps: T ≥ 1; it must be given.
            piece: Steps to run at once; the state is carried over and spikes are the same. None
                runs all at once if gradients are recorded or hooks are registered; else as many
                steps and images as keep the largest tensor small, so that memory does not grow
                with T.

        Returns:
            What the ANN returns, each tensor averaged over the T steps.

        Raises:
            ConfigError: num_steps < 1 or missing, or piece < 1.
            InputError: A wrong number of inputs, different batch sizes, no batch dimension, NaN or
                infinity.
            StateError: A membrane overflowed; the error names the layer.
        """
        stimulus = constant(inputs, self._arity, num_steps, piece)
        with explained(self, inputs), self._turn.run():
            return self._runner.mean(self.net, stimulus)

    def logits_over_time(
        self,
        *inputs: Tensor,
        num_steps: int | None = None,
        piece: int | None = None,
        observers: Sequence[Observer] = (),
        held: bool = True,
    ) -> Any:
        """As :meth:`forward`, for every number of steps up to T.

        Args:
            *inputs: ``[B, ...]``.
            num_steps: T ≥ 1; with ``held=False`` it is that of the inputs.
            piece: As for :meth:`forward`.
            observers: They see layers while the network runs. Neurons then keep only the state of
                the last group of images.
            held: False for inputs ``[T, B, ...]``, one for each step, as in :meth:`forward_steps`.

        Returns:
            ``[T, B, ...]``: entry t is the average over steps 1 … t+1.

        Raises:
            ConfigError, InputError, StateError: As :meth:`forward`.
        """
        if held:
            stimulus = constant(inputs, self._arity, num_steps, piece)
        else:
            stimulus = sequence(inputs, self._arity, piece)
        with explained(self, inputs, held=held), self._turn.run():
            return self._runner.means_over_time(self.net, stimulus, observers)

    def forward_steps(
        self, *inputs: Tensor, piece: int | None = None, observers: Sequence[Observer] = ()
    ) -> Any:
        """Run on input that changes over time, from a fresh state.

        Args:
            *inputs: ``[T, B, ...]``, one input for each step, as from ``snntorch.spikegen``.
            piece: As for :meth:`forward`.
            observers: As for :meth:`logits_over_time`.

        Returns:
            The output averaged over the T steps.

        Raises:
            ConfigError, InputError, StateError: As :meth:`forward`; or the inputs differ in T.
        """
        stimulus = sequence(inputs, self._arity, piece)
        with explained(self, inputs, held=False), self._turn.run():
            return self._runner.mean(self.net, stimulus, observers)

    def step(self, *inputs: Tensor) -> Any:
        """Advance by one step from the present state; call :meth:`reset` before new data.

        Args:
            *inputs: ``[B, ...]``, the input of this step.

        Returns:
            This step's output. The average of the steps' outputs is what :meth:`forward` returns.

        Raises:
            InputError, StateError: As :meth:`forward`.
        """
        check_inputs(inputs, self._arity)
        finite = Finite()
        see_inputs(finite, inputs)
        finite.read()  # before the step: it would change the state
        with explained(self, inputs), self._turn.step():
            return one_step(self.net, self.neurons, inputs)

    def predict(
        self, *inputs: Tensor, max_steps: int, confidence: float = 0.9, min_steps: int = 2
    ) -> Prediction:
        """Classify; each image stops as soon as the network is sure, and is not computed further.

        Args:
            *inputs: ``[B, ...]``, as the ANN takes them.
            max_steps: T after which every image stops.
            confidence: Probability (softmax of the averaged logits) at which an image stops,
                within (0, 1]. Choose it from :func:`snntorch_ecl.measurement.exit_curve`.
            min_steps: No image stops earlier: after one step networks are often wrongly sure.

        Returns:
            Class, confidence and steps of each image; ``mean_steps``.

        Raises:
            ConfigError: max_steps or min_steps < 1, or a confidence outside its range.
            InputError, StateError: As :meth:`forward`; or the output is not ``[B, classes]``.
        """
        with measuring(self):
            self.reset()
            limits = {"max_steps": max_steps, "min_steps": min_steps}
            with explained(self, inputs):
                return predict(self.step, self.net, inputs, confidence=confidence, **limits)

    def __repr__(self) -> str:
        return overview(self)

    def reset(self) -> None:
        """Reset every layer with state, to start a new sequence."""
        reset(self)

    def train(self, mode: bool = True) -> SpikingNetwork:
        """Set training or evaluation mode, once no other thread runs the network."""
        with self._turn.alone():
            return super().train(mode)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """All modules by name, except the handle for ``snntorch.utils.reset``."""
        for name, module in super().named_modules(memo, prefix, remove_duplicate):
            if module is not self.snntorch_reset:
                yield name, module

    @property
    def neurons(self) -> dict[str, DualThreshold]:
        """The dual-threshold neurons by their layer's name, in the order in which they run."""
        modules = ((layer.name, self.net.get_submodule(layer.name)) for layer in self.layers)
        return {name: m for name, m in modules if isinstance(m, DualThreshold)}

    def spike_worth(self, name: str) -> Tensor:
        """What one emitted spike of a neuron is worth, in the unit of its activation.

        Args:
            name: The neuron's layer.

        Returns:
            θ, ``[]`` or ``[C]``, with ``unit_spikes``; else 1, as the spikes already contain θ.
        """
        theta = self.neurons[name].threshold.detach()
        return theta if self.unit_spikes else torch.ones_like(theta)

    def summary(self, *inputs: Tensor) -> Summary:
        """Describe the network layer by layer.

        Args:
            *inputs: An example ``[B, ...]`` to measure shapes with, or nothing. State is reset.

        Returns:
            The description; ``print`` it, or take ``to_dict()``.
        """
        shapes = ShapeObserver(self.net)
        if inputs:
            with measuring(self), torch.no_grad():
                self.logits_over_time(*inputs, num_steps=1, observers=[shapes])
        return summarise(self.net, {la.name: la.levels for la in self.layers}, shapes.shapes)

    def save(self, path: str | Path, *, figures: Mapping[str, Any] | None = None) -> Path:
        """Write weights, thresholds and settings to a safetensors file, all or nothing.

        :func:`snntorch_ecl.load` reads it back.

        Args:
            path: The file; missing folders are made.
            figures: What was measured on the network, as plain data, to store in the file.

        Returns:
            The path written.

        Raises:
            CheckpointError: The file cannot be written; an existing file is not changed.
        """
        settings = {
            "layers": list(map(asdict, self.layers)),
            "neurons": {name: neuron.settings() for name, neuron in self.neurons.items()},
            "step_biases": step_biases(self.net),
            "unit_spikes": self.unit_spikes,
            "norms": self.norms,
        }
        return write_network(path, self.state_dict(), settings, figures or {})
