"""Files that were written when fewer batch norms were folded still load."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl


class PaddedConv(nn.Conv2d):
    """Padding of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias)


def network() -> nn.Module:
    first, second = (
        (PaddedConv(2, 2, 2), nn.BatchNorm2d(2)),
        (nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)),
    )
    return nn.Sequential(
        *first, ecl.ThresholdClip(2, 1.0), *second, ecl.ThresholdClip(2, 1.0)
    ).eval()


@pytest.mark.parametrize("later", [False, True])
def test_norms_that_a_file_keeps_are_kept(
    later: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    with monkeypatch.context() as earlier:
        earlier.setattr("snntorch_ecl.graph._fold._equal", lambda layer, norm: False)
        snn = ecl.convert(network(), fold_batchnorms=not later, leaf_modules=[PaddedConv])
        if later:
            snn.fold_batchnorms()
    snn.save(tmp_path / "net.safetensors")
    assert [type(m) for m in snn.net.modules()].count(nn.BatchNorm2d) == 1
    again = ecl.load(tmp_path / "net.safetensors", network(), leaf_modules=[PaddedConv])
    x = torch.rand(2, 2, 5, 5)
    assert torch.equal(again(x, num_steps=2), snn(x, num_steps=2))
