"""``allocate_levels``: which layers can do with fewer levels, and so with fewer spikes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._util.batches import check_one_input, images_in
from .._util.checks import check_module, check_num_steps
from .._util.devices import device_of
from .._util.torch_internals import tree_map
from ..conversion import convert, prepare
from ..conversion._layer_by_layer import Error
from ..errors import ConfigError, DataError, NotPreparedError
from ..graph._registry import Handlers
from ..network import Observer, Seen, SpikingNetwork
from ..nn._threshold_clip import clips_of
from ._allocation import Allocation, LayerLevels, Move
from ._levelled import levelled, levels_at

# Of every four images the one that is held out.
_HELD = 1
# Of so many layers one is tried again in each step: what a layer costs changes with the others.
_TRIED_AGAIN = 6


def allocate_levels(
    ann: nn.Module,
    data: Iterable[Any],
    *,
    budget: float,
    num_steps: int | None = None,
    handlers: Handlers | None = None,
    leaf_modules: Iterable[type[nn.Module]] = (),
    key: str | None = None,
    progress: bool = True,
) -> Allocation:
    r"""Choose each layer's levels so that a budget of spikes costs as little as possible.

    What L does at a given T: nothing, in a network as ``convert`` makes it. There every neuron has
    θ = λ, and its spikes are those of T levels, whatever L its clip had; L acts only through the
    weights that were trained with it. So the levels chosen here are those of :func:`levelled`,
    where a layer with L < T levels has θ = λ·T/L and at most L spikes. Its spikes fall about as L
    does, and its rounding error grows: by :math:`(λ/L)^2/12` for each neuron, if that were all.
    How much of this reaches the outputs, and what larger and later spikes do to the layers behind,
    is measured, with the spiking network at T.

    The search is greedy. It starts with the levels that the layers have (L of each clip, T where
    that is less). Again and again it lowers the L of one layer: the one whose squared error of the
    outputs grows least for each spike that the whole network saves. To try all layers each time
    would take long. It tries those whose last trial is the longest ago, a sixth of them, and then
    the others in the order of what they cost when they were last tried, as long as that promises
    more than the best one found. Of each four images one is held out, to measure the outcome.

    Without training, accuracy pays for spikes. ``prepare(ann, levels=found.levels)`` keeps the
    thresholds and makes a network that can be trained with the chosen levels.

    Args:
        ann: What :func:`~snntorch_ecl.prepare` returned, with thresholds. It is not changed.
        data: Some 100 unlabelled images in batches, ``[B, ...]`` each.
        budget: Share of the spikes at the start that may be left, within (0, 1).
        num_steps: T; None: the largest L of the clips.
        handlers: As for ``prepare``.
        leaf_modules: As for ``prepare``.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        The levels, and what they save and cost.

    Raises:
        ConfigError: The budget is outside (0, 1), or less than what one level in every layer
            leaves; T < 1; T is missing, or all layers have one level already.
        DataError: Fewer than 2 images, or none that makes the network spike.
        NotPreparedError, ThresholdUnsetError, UnsupportedError, TraceError: As for ``convert``.

    Example:
        >>> from snntorch_ecl import ThresholdClip
        >>> _ = torch.manual_seed(0)
        >>> clips = [ThresholdClip(4, 2.0), ThresholdClip(4, 1.0)]
        >>> ann = nn.Sequential(nn.Linear(8, 32), clips[0], nn.Linear(32, 32), clips[1])
        >>> found = allocate_levels(ann, [torch.randn(64, 8)], budget=0.6, progress=False)
        >>> found.spikes_after < 0.7 * found.spikes_before
        True
        >>> chip = levelled(convert(ann), num_steps=4, levels=found.levels)
    """
    check_module(ann)
    if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < 1:
        raise ConfigError(f"budget is a share of the spikes, within (0, 1); got {budget!r}")
    if not clips_of(ann):
        raise NotPreparedError(
            f"{type(ann).__name__} has no ThresholdClip: call prepare(model) first"
        )
    with torch.inference_mode(False), torch.no_grad():
        work = prepare(ann, handlers=handlers, leaf_modules=leaf_modules).eval()
        check_one_input(work, "allocate_levels")
        snn = convert(work, handlers=handlers, leaf_modules=leaf_modules)
        steps = _steps(snn, num_steps)
        start = levels_at(snn, steps, None)
        if max(start.values(), default=1) == 1:
            raise ConfigError(f"at T = {steps} all layers have one level: there is none to lower")
        chosen_by, held = _split(data, key, device_of(ann))
        search = _Search(_Trials(work, snn, steps, chosen_by), budget)
        moves = tuple(search.moves(start, progress=progress))
        judge = _Trials(work, snn, steps, held)
        before, after = judge.tried(start), judge.tried(search.levels)
    layers = tuple(
        LayerLevels(n, L, search.levels[n], before.spikes[n], after.spikes[n])
        for n, L in start.items()
    )
    errors = before.error.relative, after.error.relative
    return Allocation(
        steps, budget, sum(map(len, chosen_by)), sum(map(len, held)), *errors, layers, moves
    )


def _steps(snn: SpikingNetwork, num_steps: int | None) -> int:
    """T: what was given, or the largest L."""
    if num_steps is not None:
        check_num_steps(num_steps)
        return num_steps
    known = [layer.levels for layer in snn.layers if layer.levels is not None]
    if not known:
        raise ConfigError("the clips have no levels: give num_steps, the T of the spiking network")
    return max(known)


def _split(
    data: Iterable[Any], key: str | None, device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    """Batches of images to choose by, and of those held out."""
    kept: tuple[list[Tensor], list[Tensor]] = ([], [])
    count = 0
    for images in images_in(data, key=key):
        out = (torch.arange(len(images)) + count) % 4 == _HELD
        count += len(images)
        for part, mask in zip(kept, (~out, out), strict=True):
            if bool(mask.any()):
                part.append(images[mask.to(images.device)].to(device))
    if count < 2:
        raise DataError(
            f"allocate_levels needs at least 2 images, as it holds some out; got {count}"
        )
    return kept


class Trial(NamedTuple):
    """What some levels give: the error of the outputs, and the spikes an image by layer."""

    error: Error
    spikes: dict[str, float]

    @property
    def total(self) -> float:
        """Spikes an image."""
        return math.fsum(self.spikes.values())


class _Spikes(Observer):
    """Counts spikes of either sign by layer."""

    def __init__(self, layers: Collection[str]) -> None:
        super().__init__(layers)
        self.counts = dict.fromkeys(layers, 0)

    def see(self, seen: Seen) -> None:
        self.counts[seen.name] += int(seen.output.count_nonzero())


class _Trials:
    """Tries levels on some images."""

    def __init__(
        self, ann: nn.Module, snn: SpikingNetwork, num_steps: int, images: list[Tensor]
    ) -> None:
        self.snn, self.num_steps, self.images = snn, num_steps, images
        self.answers = [ann(batch) for batch in images]

    def tried(self, levels: Mapping[str, int]) -> Trial:
        """Run the network with these levels."""
        chip = levelled(self.snn, num_steps=self.num_steps, levels=levels)
        spikes, error = _Spikes(levels), Error()
        for batch, answer in zip(self.images, self.answers, strict=True):
            over_time = chip.logits_over_time(batch, num_steps=self.num_steps, observers=[spikes])
            error.add(tree_map(_last, over_time), answer)
        images = sum(map(len, self.images))
        return Trial(error, {name: count / images for name, count in spikes.counts.items()})


def _last(value: Any) -> Any:
    return value[-1] if isinstance(value, Tensor) else value


class _Search:
    """Lowers one layer's levels after the other until the budget is kept."""

    def __init__(self, trials: _Trials, budget: float) -> None:
        self.trials, self.budget = trials, budget
        self.levels: dict[str, int] = {}
        # What a layer cost when it was last tried, those tried last at the end.
        self.costs: dict[str, float] = {}

    def moves(self, start: Mapping[str, int], *, progress: bool) -> Iterator[Move]:
        """The steps of the search; after them ``levels`` is its outcome."""
        self.levels, now = dict(start), self.trials.tried(start)
        whole = now.total
        if not whole:
            raise DataError("no neuron spikes on the data: is it what the network was trained on?")
        self._check_reachable(whole)
        self.costs = dict.fromkeys(start, -math.inf)
        bar = tqdm(desc="allocate levels", unit="trial", disable=not progress, leave=False, delay=2)
        with bar:
            while now.total > self.budget * whole:
                name, now = self._best(now, bar)
                self.levels[name], self.costs[name] = fewer(self.levels[name]), -math.inf
                share = now.total / whole
                bar.set_postfix_str(f"{share:.0%} of the spikes, aim {self.budget:.0%}")
                yield Move(name, self.levels[name], now.error.relative, share)

    def _best(self, now: Trial, bar: Any) -> tuple[str, Trial]:
        """The layer to lower: the least error for each spike saved."""
        best: tuple[float, str, Trial] | None = None
        able = [name for name in self.costs if self.levels[name] > 1]
        again = able[: max(1, len(able) // _TRIED_AGAIN)]
        for name in dict.fromkeys([*again, *sorted(able, key=lambda name: self.costs[name])]):
            if name not in again and best is not None and best[0] <= self.costs[name]:
                break
            trial = self.trials.tried({**self.levels, name: fewer(self.levels[name])})
            bar.update()
            saved = now.total - trial.total
            growth = trial.error.squared - now.error.squared
            del self.costs[name]
            cost = self.costs[name] = growth / saved if saved > 0 else math.inf
            if cost < math.inf and (best is None or cost < best[0]):
                best = cost, name, trial
        if best is None:
            raise self._unreachable(now.total)
        return best[1:]

    def _check_reachable(self, whole: float) -> None:
        least = self.trials.tried(dict.fromkeys(self.levels, 1)).total
        if least > self.budget * whole:
            raise self._unreachable(least, least / whole)

    def _unreachable(self, spikes: float, share: float | None = None) -> ConfigError:
        left = "" if share is None else f", a share of {share:.2f}"
        return ConfigError(
            f"budget={self.budget:g} cannot be kept: {spikes:,.0f} spikes an image are left{left} "
            "where no layer can save more. Give a larger budget, or fewer time steps"
        )


def fewer(levels: int) -> int:
    """The next number of levels that is tried: one less, or a quarter of many.

    Example:
        >>> [fewer(levels) for levels in (2, 4, 8, 32)]
        [1, 3, 6, 24]
    """
    return levels - max(1, levels // 4)
