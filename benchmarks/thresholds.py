r"""How thresholds start and learn: choices side by side, beside ReLU.

    python benchmarks/thresholds.py [--quick] [--seeds 2] [--levels 4]

Two tasks. A regression whose targets have a mean and a scale of their own (6-64-64-1, 512 points,
y = a·Σ sin z + b): the share of the variance that is left after training. And 5,000 digits at
14 × 14 (three convolutions with batch norms, SGD with Nesterov momentum): the accuracy on 1,000
others. The choices:

- shipped: ``ThresholdClip`` as it is. λ starts from the first batch, and is raised over 100 more
  where more than a quarter of the positive activations exceed it;
- first batch: λ starts from the first batch and is only learned from there;
- 4 × first batch: the same, four times as high;
- scaled: as "shipped", λ's gradient times 1/√(N·L), N activations a sample (LSQ, ICLR 2020);
- log: as "first batch", log λ is learned;
- softplus: as "first batch", λ = softplus of what is learned.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable

import torch
from rich.console import Console
from torch import Tensor, nn

from snntorch_ecl import ThresholdClip
from snntorch_ecl import functional as F
from snntorch_ecl._util.tables import table
from snntorch_ecl.experiments import digits

# Scale and mean of the targets, optimiser, its rate, steps.
REGRESSIONS = [
    (1.0, 0.0, torch.optim.Adam, 1e-2, 300),
    (1.0, 0.0, torch.optim.Adam, 1e-3, 1000),
    (1.0, 0.0, torch.optim.Adam, 5e-2, 300),
    (1.0, 10.0, torch.optim.Adam, 1e-2, 300),
    (30.0, 0.0, torch.optim.Adam, 1e-2, 300),
    (30.0, 0.0, torch.optim.Adam, 1e-3, 1000),
    (1.0, 0.0, torch.optim.SGD, 5e-2, 300),
]
# Batch size, rate, epochs.
DIGITS = [(128, 0.05, 2), (128, 0.4, 2), (32, 0.01, 1), (512, 0.4, 4), (128, 1.5, 2)]


class FirstBatch(ThresholdClip):
    """λ starts ``factor`` times as high as the first batch says, and does not follow."""

    factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.is_set:
            super().forward(x)
            if self.is_set:
                self.threshold = self.factor * self.threshold.detach()
        return super().forward(x)


class High(FirstBatch):
    """Starts four times as high."""

    factor = 4.0


class Scaled(ThresholdClip):
    """λ's gradient is scaled as in LSQ."""

    def forward(self, x: Tensor) -> Tensor:
        self.scale = 1 / math.sqrt(x[0].numel() * (self.levels or 1))
        return super().forward(x)

    def __init__(self, levels: int | None) -> None:
        super().__init__(levels)
        self.raw_threshold.register_hook(lambda grad: grad * self.scale)


class Reparametrised(nn.Module):
    """λ is a function of what is learned, and starts from the first batch."""

    def __init__(
        self, levels: int | None, of: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.levels, self.of, self.back = levels, of, back
        self.raw, self.started = nn.Parameter(torch.tensor(0.0)), False

    def forward(self, x: Tensor) -> Tensor:
        if not self.started:
            start = FirstBatch(self.levels)
            start(x.detach())
            self.raw.data, self.started = self.back(start.threshold.detach()), True
        # Beyond these bounds a run is lost; within, its loss says so.
        return F.threshold_clip(x, self.of(self.raw).clamp(1e-6, 1e30), self.levels)


def log(levels: int | None) -> nn.Module:
    return Reparametrised(levels, torch.exp, torch.log)


def softplus(levels: int | None) -> nn.Module:
    return Reparametrised(levels, nn.functional.softplus, lambda y: y + (-(-y).expm1()).log())


CHOICES: dict[str, Callable[[int | None], nn.Module]] = {
    "ReLU": lambda levels: nn.ReLU(),
    "shipped": ThresholdClip,
    "first batch": FirstBatch,
    "4 × first batch": High,
    "scaled": Scaled,
    "log": log,
    "softplus": softplus,
}


def regression(
    activation: Callable[[], nn.Module],
    seed: int,
    task: tuple[float, float, type[torch.optim.Optimizer], float, int],
) -> float:
    """The share of the targets' variance that is left, in per cent."""
    scale, mean, optimiser_type, rate, steps = task
    torch.manual_seed(seed)
    z = torch.rand(512, 6)
    y = scale * z.sin().sum(1, keepdim=True) + mean
    net = nn.Sequential(
        nn.Linear(6, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, 1)
    )
    momentum = {"momentum": 0.9} if optimiser_type is torch.optim.SGD else {}
    optimiser = optimiser_type(net.parameters(), lr=rate, **momentum)
    for _ in range(steps):
        optimiser.zero_grad()
        (net(z) - y).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        return 100 * float((net.eval()(z) - y).square().mean() / y.var())


def classification(
    activation: Callable[[], nn.Module], seed: int, task: tuple[int, float, int]
) -> float:
    """The accuracy on held-out digits, in per cent."""
    batch, rate, epochs = task
    (images, labels), (others, answers) = (half.tensors for half in digits())
    images, others = (nn.functional.avg_pool2d(x, 2) for x in (images, others))
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), activation()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))
    optimiser = torch.optim.SGD(
        net.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = len(images) // batch * epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch)[: len(images) // batch]:
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        return 100 * float((net.eval()(others).argmax(1) == answers).float().mean())


def named(task: Iterable[object]) -> str:
    return ", ".join(getattr(part, "__name__", str(part)) for part in task)


def main() -> None:
    parser = argparse.ArgumentParser(description="How thresholds start and learn.")
    parser.add_argument("--quick", action="store_true", help="one task of each kind, one seed")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--levels", type=int, default=4, help="0 clips only")
    options = parser.parse_args()
    seeds = range(1 if options.quick else options.seeds)
    kept = 1 if options.quick else None
    console = Console()
    for title, measure, tasks in (
        ("variance left, % (scale, mean, optimiser, rate, steps)", regression, REGRESSIONS[:kept]),
        ("accuracy, % (batch, rate, epochs)", classification, DIGITS[:kept]),
    ):
        rows = []
        for task in tasks:
            row = [named(task)]
            for make in CHOICES.values():
                found = [
                    measure(lambda m=make: m(options.levels or None), seed, task) for seed in seeds
                ]
                row.append(" ".join(f"{value:.1f}" for value in found))
            rows.append(row)
        console.print(table(title, ("", *CHOICES), rows))


if __name__ == "__main__":
    main()
