"""Levels that training learns, layer by layer, under a penalty on neurons × L."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .. import functional as F
from ..errors import ConfigError
from ..functional._channels import over_channels
from ..nn import ThresholdClip
from ..nn._threshold_clip import clips_of

# The share of the epochs, at the end, in which levels are whole and only weights learn.
_WHOLE = 1 / 3


class LearnedLevels(nn.Module):
    r"""A real-valued ℓ for each clip of a network, learned between 1 and the L that it has.

    A clip gives :math:`h = (1 − f)·h_n + f·h_{n+1}`, with n = ⌊ℓ⌋ and f = ℓ − n, so that
    :math:`∂h/∂ℓ = h_{n+1} − h_n`. The penalty is Σ neurons · ℓ, as a share of that at the start.
    ℓ is held as a share of its L, so that one learning rate suits layers of many levels and of few.

    Source: the idea of FracBits (Yang and Jin, AAAI 2021), there for bits of weights.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        clips = {name: c for name, c in clips_of(network).items() if (c.levels or 1) > 1}
        if not clips:
            raise ConfigError(
                "level_penalty needs a network whose clips have two levels or more to learn from: "
                "prepare(model, levels=L), and no spiking or plain ReLU network"
            )
        self.names, self._clips = tuple(clips), tuple(clips.values())
        self.most = [int(clip.levels or 1) for clip in self._clips]
        self.shares = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in clips)
        self.neurons = [0] * len(clips)
        self._fixed: list[float] | None = None  # the shares of whole levels, once they are
        self._handles = [
            hook
            for place, clip in enumerate(self._clips)
            for hook in (
                clip.register_forward_pre_hook(lambda clip, args, i=place: self._floor(clip, i)),
                clip.register_forward_hook(
                    lambda clip, args, out, i=place: self._between(clip, args[0], out, i)
                ),
            )
        ]

    def level(self, place: int) -> Tensor:
        """The ℓ of a clip."""
        share: Tensor = self.shares[place]
        return share * self.most[place]

    def _floor(self, clip: ThresholdClip, place: int) -> None:
        # 2/3 of 3 levels are 2, not 1.9999999.
        level = float(self.level(place).detach()) + 1e-4
        clip.levels = min(max(1, math.floor(level)), self.most[place])

    def _between(self, clip: ThresholdClip, x: Tensor, low: Tensor, place: int) -> Tensor:
        """Between the clip's output and that with one level more."""
        self.neurons[place] = x[0].numel()
        level, whole = self.level(place), int(clip.levels or 1)
        if self._fixed is not None or not clip.is_set:
            return low + 0 * level.to(low.dtype)  # several processes expect a gradient
        # At the most there is no level above: the one below tells what the last one is worth.
        other = whole + 1 if whole < self.most[place] else whole - 1
        threshold = over_channels(clip.threshold, x, clip.qualified_name)
        high = F.threshold_clip(x, threshold, other, signed=clip.signed)
        return low + (level - whole).to(low.dtype) * (high - low) * (other - whole)

    def penalty(self) -> Tensor:
        """Neurons × ℓ, as a share of neurons × L at the start; 1 at first."""
        weights = [n * most for n, most in zip(self.neurons, self.most, strict=True)]
        shares = self.shares if self._fixed is None else [s.detach() for s in self.shares]
        total = torch.stack([w * s for w, s in zip(weights, shares, strict=True)]).sum()
        return total / max(sum(weights), 1)

    @torch.no_grad()
    def keep_within(self) -> None:
        """Bring each ℓ back to between 1 and its L, after a step of the optimiser."""
        for place, (share, most) in enumerate(zip(self.shares, self.most, strict=True)):
            if self._fixed is None:
                share.clamp_(1 / most, 1)
            else:  # momentum goes on
                share.fill_(self._fixed[place])

    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """From two thirds of the epochs on, levels are whole and no longer learned."""
        if self._fixed is None and epoch >= math.ceil((1 - _WHOLE) * epochs):
            self._fixed = [self._nearest(place) / most for place, most in enumerate(self.most)]
            self.keep_within()

    def _nearest(self, place: int) -> int:
        """The whole number of levels that is nearest to ℓ."""
        return math.floor(float(self.level(place).detach()) + 0.5)

    def finish(self) -> None:
        """Give each clip its whole number of levels, and leave the network without hooks."""
        for handle in self._handles:
            handle.remove()
        for place, clip in enumerate(self._clips):
            clip.levels = self._nearest(place)

    def group(self) -> dict[str, Any]:
        """The parameters, for an optimiser: no decay."""
        return {"params": list(self.shares), "weight_decay": 0.0}
