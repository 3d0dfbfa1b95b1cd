"""Learning from a trained network's answers, besides the labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._util.checks import check_share
from ..errors import ConfigError


class Committee(nn.Module):
    """Several networks that answer together: the mean of their logits.

    Args:
        members: Trained networks for the same classes; at least one.

    Raises:
        ConfigError: There are none.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531,
    whose soft targets may be the geometric mean of an ensemble's: the mean of its logits.

    Example:
        >>> committee = Committee([nn.Linear(4, 3), nn.Linear(4, 3)])
        >>> committee(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ConfigError("a committee needs at least one network; got none")
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """The mean of what each member answers.

        Args:
            images: ``[B, ...]``.

        Returns:
            Logits, ``[B, classes]``.
        """
        return torch.stack([member(images) for member in self.members]).mean(0)


class Teacher(nn.Module):
    """A trained network whose answers another one learns; see :func:`snntorch_ecl.training.fit`.

    Args:
        model: The trained network: ``model(images)`` gives logits ``[B, classes]``. It is copied.
        share: Weight of its answers in the loss, within [0, 1]; the labels get the rest.
        temperature: Both logits are divided by it, so that the order of the wrong classes counts.

    Raises:
        ConfigError: A number is outside its range.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.

    Example:
        >>> teacher = Teacher(nn.Linear(4, 3), share=0.5)
        >>> images = torch.rand(2, 4)
        >>> teacher.distance(images, teacher.model(images)).item()
        0.0
    """

    def __init__(self, model: nn.Module, *, share: float = 0.7, temperature: float = 2.0) -> None:
        super().__init__()
        check_share(share)
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ConfigError(f"temperature must be finite and > 0; got {temperature!r}")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.share = share
        self.temperature = temperature

    def train(self, mode: bool = True) -> Teacher:
        """A teacher does not learn: its norms keep the statistics they have."""
        return super().train(False)

    def distance(self, images: Tensor, logits: Tensor) -> Tensor:
        """``τ² · KL(teacher ‖ student)``, the mean over the batch.

        Args:
            images: ``[B, ...]``.
            logits: The learner's, ``[B, classes]``.

        Returns:
            A scalar, ≥ 0.
        """
        with torch.no_grad():
            wanted = self.model(images).float() / self.temperature
        found = logits.float() / self.temperature
        distance = nn.functional.kl_div(
            found.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True
        )
        return distance * self.temperature**2

    def mixed(self, loss: Tensor, images: Tensor, logits: Tensor) -> Tensor:
        """The labels' loss, mixed with the distance.

        Args:
            loss: The loss of the labels, a scalar.
            images: ``[B, ...]``.
            logits: The learner's, ``[B, classes]``.

        Returns:
            A scalar.
        """
        return (1 - self.share) * loss + self.share * self.distance(images, logits)
