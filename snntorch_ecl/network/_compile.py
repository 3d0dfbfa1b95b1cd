"""``network.compile()``, for spiking networks and for prepared ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.fx import GraphModule

from .._util.compiler import works_on
from .._util.devices import device_of
from .._util.torch_internals import compile_once, uncompile, without_compiled
from ..errors import ConfigError
from ..nn._dual_threshold import DualThreshold
from ..nn._threshold_clip import settled
from ._compiled import CompiledRuns
from ._pieces import teach_allocator
from ._runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self


class CompilesRuns(nn.Module):
    """The part of ``SpikingNetwork`` that compiles it."""

    _runner: Runner

    def compile(  # type: ignore[override]
        self,
        enabled: bool = True,
        *,
        whole: bool = True,
        mode: str | None = None,
        progress: bool = True,
    ) -> Self:
        """Compile whole runs: all T steps of the network become one graph of ``torch.compile``.

        Membranes and counts then stay in registers, and a neuron costs about what a ReLU costs.
        There is one graph for each T up to 16 and each kind of input; batches of two images and
        more share one. The first run of a kind compiles for a minute or so, and says so; torch's
        cache on disk makes that shorter in later processes. Longer runs, runs with ``piece=`` and
        runs that observers watch compile each neuron's loop by itself; runs with hooks, and single
        steps, are not compiled.

        With ``whole=False`` there is no graph of the network: every run compiles each neuron's loop
        by itself. Neurons of a kind share a loop, which compiles in seconds: the choice for large
        transformers, whose whole graph takes many minutes.

        Outputs are those of plain code up to rounding: sums are added in another order, so at a
        tie a spike may flip, and others after it. A run as one graph keeps no state for a later
        ``step``, which asks for a reset. Without a compiler (on CPUs: of C++) a warning says so,
        and plain code runs. Copies of the network are not compiled.

        ``nn.Module.compile`` would compile the code of this class as well; this does not.

        Args:
            enabled: False goes back to plain code.
            whole: Compile the network as one graph; False: each neuron's loop by itself.
            mode: As for ``torch.compile``, for the whole graph. None is ``"reduce-overhead"`` (CUDA
                graphs) on CUDA without gradients, else torch's default.
            progress: Say on screen which whole graph is being compiled.

        Returns:
            The network itself.

        Raises:
            ConfigError: ``mode`` is given with ``whole=False``.

        Example:
            >>> import torch, snntorch_ecl as ecl
            >>> ann = nn.Sequential(nn.Linear(8, 16), ecl.ThresholdClip(4, 1.0), nn.Linear(16, 2))
            >>> snn = ecl.convert(ann).compile(progress=False)
            >>> with torch.no_grad():
            ...     snn(torch.rand(3, 8), num_steps=2).shape
            torch.Size([3, 2])
        """
        if mode is not None and not whole:
            raise ConfigError(
                f"mode={mode!r} is for the whole graph and has no effect with whole=False; "
                "leave one of them out"
            )
        works = enabled and works_on(device_of(self).type)
        self._runner.compiled = CompiledRuns(mode, progress) if works and whole else None
        for module in self.modules():
            if isinstance(module, DualThreshold):
                module.fused = works
        if works:
            teach_allocator()
        return self


class PreparedNetwork(GraphModule):
    """What ``prepare`` returns: a ``torch.fx.GraphModule`` that trains, calibrates and converts."""

    def compile(  # type: ignore[override]
        self, enabled: bool = True, **settings: Any
    ) -> Self:
        """Compile the network in place: it then trains about as fast as its ReLU original.

        Each :class:`~snntorch_ecl.ThresholdClip` is merged into the loops around it, and its
        output is computed again in the backward pass instead of being saved. So training also
        takes about the memory of the ReLU network. Compiling takes a minute, after the batches
        that thresholds start from (the first 100 in training mode, for thresholds that are not
        given). Without a compiler a warning says so, and plain code runs. Copies are not compiled.

        Gradients are not checked here, as the loss is yours: compare a few steps with plain code
        on a new release of torch. ``training.fit`` checks them itself.

        Args:
            enabled: False goes back to plain code.
            **settings: As for ``torch.compile``, such as ``mode``.

        Returns:
            The network itself.

        Example:
            >>> import torch, snntorch_ecl as ecl
            >>> ann = ecl.prepare(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)))
            >>> loss = ann.compile().train()(torch.rand(32, 8)).sum()
            >>> loss.backward()
        """
        if not enabled:
            uncompile(self)
        elif works_on(device_of(self).type):
            # The first batches choose thresholds by their values, which a compiled graph cannot.
            compile_once(self, lambda: settled(self), settings)
            teach_allocator()
        return self

    def __reduce__(self) -> Any:
        make, (attributes, *others) = super().__reduce__()  # of a plain graph module
        return _unpickled, (make, (without_compiled(attributes), *others))


def as_prepared(gm: GraphModule) -> PreparedNetwork:
    """The same graph and modules as a prepared network."""
    prepared = PreparedNetwork(gm, gm.graph, type(gm).__name__)
    prepared.meta = gm.meta
    return prepared


def _unpickled(make: Callable[..., GraphModule], parts: tuple[Any, ...]) -> PreparedNetwork:
    return as_prepared(make(*parts))
