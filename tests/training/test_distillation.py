"""A teacher's part of the loss: against sums written out, and what it leaves alone."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import Committee, Teacher, fit


class Fixed(nn.Module):
    """Gives logits that do not depend on the images."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def softmax(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(x / temperature) for x in logits]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_distance_is_that_of_the_literature(temperature: float) -> None:
    teacher = Teacher(Fixed(2.0, 0.0, -1.0), temperature=temperature)
    students = [[0.0, 1.0, 3.0], [2.0, 0.0, -1.0], [-4.0, 0.5, 0.0]]
    wanted = softmax([2.0, 0.0, -1.0], temperature)
    expected = sum(
        sum(p * math.log(p / q) for p, q in zip(wanted, softmax(s, temperature), strict=True))
        for s in students
    )
    found = teacher.distance(torch.zeros(3, 1), torch.tensor(students))
    assert found.item() == pytest.approx(temperature**2 * expected / 3, rel=1e-5)


def test_labels_and_teacher_share_the_loss() -> None:
    teacher = Teacher(Fixed(1.0, 0.0), share=0.25)
    images, logits = torch.zeros(2, 1), torch.tensor([[0.0, 1.0], [3.0, 1.0]])
    expected = 0.75 * 8.0 + 0.25 * teacher.distance(images, logits).item()
    assert teacher.mixed(torch.tensor(8.0), images, logits).item() == pytest.approx(expected)


def test_a_teacher_is_a_copy_that_does_not_learn() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).train()
    teacher = Teacher(model).train()
    statistics = teacher.model[1].running_mean.clone()  # type: ignore[index]
    logits = torch.rand(5, 3, requires_grad=True)
    teacher.distance(torch.rand(5, 4), logits).backward()
    assert logits.grad is not None
    assert torch.equal(teacher.model[1].running_mean, statistics)  # type: ignore[index]
    assert not any(p.requires_grad for p in teacher.parameters())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, "all"])
def test_a_share_outside_its_range_is_refused(share: Any) -> None:
    with pytest.raises(ConfigError, match=r"share of a teacher must lie in \[0, 1\]"):
        Teacher(Fixed(1.0), share=share)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_outside_its_range_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature must be finite and > 0"):
        Teacher(Fixed(1.0), temperature=temperature)


def test_a_committee_answers_with_the_mean_and_is_one_with_its_only_member() -> None:
    members = [Fixed(2.0, 0.0), Fixed(-1.0, 3.0), Fixed(5.0, 0.0)]
    assert Committee(members)(torch.zeros(4, 1)).tolist() == [[2.0, 1.0]] * 4
    assert torch.equal(Committee(members[:1])(torch.zeros(4, 1)), members[0](torch.zeros(4, 1)))
    with pytest.raises(ConfigError, match="at least one network; got none"):
        Committee([])


# ---------------------------------------------------------------------------- while training


def student() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        return ecl.prepare(model).train()


def taught(labels: Tensor, **options: Any) -> list[Tensor]:
    torch.manual_seed(7)
    images, model = torch.rand(24, 4), nn.Linear(4, 3)
    net = fit(
        student(), TensorDataset(images, labels), TrainConfig(epochs=2, batch_size=8, lr=0.05),
        teacher=Teacher(model, **options), accelerator="cpu", progress=False,
    )  # fmt: skip
    return [p.detach() for p in net.parameters()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_with_the_whole_share_labels_do_not_count_and_without_one_they_alone() -> None:
    some, others = torch.arange(24) % 3, (torch.arange(24) + 1) % 3
    assert equal(taught(some, share=1.0), taught(others, share=1.0))
    assert not equal(taught(some, share=0.5), taught(others, share=0.5))
    assert not equal(taught(some, share=0.5), taught(some, share=0.0))
    torch.manual_seed(7)
    alone = fit(
        student(), TensorDataset(torch.rand(24, 4), some),
        TrainConfig(epochs=2, batch_size=8, lr=0.05), accelerator="cpu", progress=False,
    )  # fmt: skip
    assert equal(taught(some, share=0.0), [p.detach() for p in alone.parameters()])
