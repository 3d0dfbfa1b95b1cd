"""The progress bar of a training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit


def test_epochs_count_from_one_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    data = TensorDataset(torch.rand(32, 8), torch.randint(0, 2, (32,)))
    recipe = TrainConfig(epochs=2, batch_size=16)
    fit(nn.Linear(8, 2), data, recipe, classes=2, accelerator="cpu")
    shown = capsys.readouterr().err
    assert "train, epoch 1 of 2" in shown
    assert "train, epoch 2 of 2: 100%" in shown
    assert "2/2" in shown
    assert "loss=" in shown
    assert "epoch 0" not in shown
