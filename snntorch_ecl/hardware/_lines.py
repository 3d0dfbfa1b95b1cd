"""Layers between neurons and synapses whose events have no sign: two lines, + and −."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..functional._channels import over_channels
from ..graph._registry import LayerKind, add


def weighed(input_: Tensor, weight: Tensor) -> Tensor:
    """A value ``[B, C, ...]`` times a weight ``[]`` or ``[C]``; ``[N, C]``: N synapses each."""
    rows = weight if weight.ndim == 2 else weight.unsqueeze(0)
    parts = [input_ * over_channels(row.squeeze(), input_) for row in rows]
    return sum(parts[1:], parts[0])


class EventLines(nn.Module):
    """Sends each value on one of two lines by its sign: ``[B, C, ...]`` to ``[B, 2C, ...]``.

    Channels 0 to C − 1 are the lines of positive events, the others those of negative ones. The
    neuron before it and these lines are one programmable neuron with two kinds of events.

    Args:
        flat: Whether it takes only ``[B, C]``.

    Raises:
        InputError: Another number of dimensions.

    Example:
        >>> EventLines()(torch.tensor([[1.0, -1.0]])).tolist()
        [[1.0, 0.0, 0.0, 1.0]]
    """

    def __init__(self, *, flat: bool = False) -> None:
        super().__init__()
        self.flat = flat

    def forward(self, input_: Tensor) -> Tensor:
        """Split ``[B, C, ...]``."""
        if input_.ndim < 2 or (self.flat and input_.ndim != 2):
            raise InputError(
                "two event lines for each neuron need channels in dimension 1, and linear layers "
                f"behind them [B, C]; got spikes of shape {list(input_.shape)}"
            )
        return torch.cat([input_.clamp_min(0), (-input_).clamp_min(0)], 1)


class LineSum(nn.Module):
    """Two synapses for each neuron, of weight w and −w: ``[B, 2C, ...]`` to ``[B, C, ...]``.

    Args:
        weight: w, ``[]``, or ``[C]`` over dimension 1; or ``[N, C]``: N synapses of each sign.

    Example:
        >>> LineSum(torch.tensor(2.0))(torch.tensor([[1.0, 0.0, 0.0, 1.0]])).tolist()
        [[2.0, -2.0]]
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.plus = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.minus = nn.Parameter(-weight.detach(), requires_grad=False)

    def forward(self, input_: Tensor) -> Tensor:
        """Weigh ``[B, 2C, ...]``."""
        plus, minus = input_.chunk(2, 1)
        return weighed(plus, self.plus) + weighed(minus, self.minus)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Adopt the shape of loaded weights: one value, one per channel, or several of these."""
        stored = state.get(f"{prefix}plus")
        if stored is not None and stored.ndim <= 2:
            self.plus.data = torch.zeros_like(stored, dtype=self.plus.dtype)
            self.minus.data = torch.zeros_like(self.plus)
        super()._load_from_state_dict(state, prefix, *args)


class JoinLines(nn.Module):
    """Joins lines along the channels, and keeps + before −.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> JoinLines()(a, b).tolist()
        [[1.0, 0.0, 0.0, 1.0]]
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """Join tensors ``[B, 2C, ...]``."""
        plus, minus = zip(*(x.chunk(2, 1) for x in inputs), strict=True)
        return torch.cat([*plus, *minus], 1)


class GroupLines(nn.Module):
    """Orders lines for a grouped convolution: + and − of the first group, of the second, ….

    Args:
        groups: The number of groups.

    Example:
        >>> GroupLines(2)(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist()
        [[1.0, 3.0, 2.0, 4.0]]
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input_: Tensor) -> Tensor:
        """Order ``[B, 2C, ...]``."""
        rows, lines, *places = input_.shape
        split = input_.view(rows, 2, self.groups, lines // (2 * self.groups), *places)
        return split.transpose(1, 2).reshape(rows, lines, *places)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


_MOVES = LayerKind(cost="free", keeps_dims=True, whole="keeps")
add(EventLines, JoinLines, GroupLines, kind=_MOVES)
add(LineSum, kind=LayerKind(cost="synapses", keeps_dims=True))
