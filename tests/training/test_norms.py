"""Batch norms measured again, against statistics taken by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from snntorch_ecl.errors import DataError
from snntorch_ecl.training._norms import measure_norms


def data(images: int = 40) -> tuple[TensorDataset, Tensor]:
    x = torch.randn(images, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1
    return TensorDataset(x, torch.zeros(images)), x


def test_the_statistics_are_those_of_the_data() -> None:
    norm = nn.BatchNorm1d(3)
    pairs, x = data()
    measure_norms(norm, pairs, progress=False)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, x.mean(0))
    torch.testing.assert_close(norm.running_var, x.var(0))


def test_they_are_the_mean_over_batches() -> None:
    norm = nn.BatchNorm1d(3)
    pairs, x = data(500)
    measure_norms(norm, pairs, progress=False)
    assert int(norm.num_batches_tracked or 0) == 2
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, x.mean(0))


def test_nothing_else_changes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=0.3)).eval()
    weights = [p.clone() for p in net.parameters()]
    pairs, x = data()
    drawn = torch.get_rng_state()
    measure_norms(net, pairs, progress=False)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(module.training for module in net.modules())
    assert net[1].momentum == 0.3
    assert all(torch.equal(p, w) for p, w in zip(net.parameters(), weights, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(net[1].running_mean, net[0](x).mean(0))


def test_a_network_without_norms_is_not_even_run() -> None:
    runs = []

    class Counts(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            runs.append(len(images))
            return images

    measure_norms(Counts(), data()[0], progress=False)
    assert runs == []


def test_data_that_fails_leaves_the_network_as_it_was() -> None:
    class Breaks(Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return 500

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            if index == 499:
                raise DataError("x.png is not a readable image")
            return torch.full((3,), float(index)), 0

    net = nn.Sequential(nn.BatchNorm1d(3, momentum=0.3)).eval()
    net[0](torch.randn(2, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(DataError, match="not a readable image"):
        measure_norms(net, Breaks(), progress=False)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[0].momentum == 0.3
    assert not net[0].training
