"""A small problem, and a network that is trained on it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import snntorch_ecl as ecl
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit

BATCH, SAMPLES, EPOCHS = 16, 60, 3  # 60 = 3 · 16 + 12: the last, incomplete batch is left out


def problem() -> tuple[Tensor, Tensor]:
    """Three classes around three centres, far apart."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(SAMPLES) % 3
    centres = 2 * torch.eye(3, 4)
    return centres[labels] + 0.3 * torch.randn(SAMPLES, 4, generator=generator), labels


DATA = TensorDataset(*problem())


def net(*, per_channel: bool = False, dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = (nn.Linear(4, 12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 8), nn.ReLU())
        model = nn.Sequential(*layers, nn.Linear(8, 3))
        return ecl.prepare(model, levels=4, per_channel=per_channel).train()


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": EPOCHS, "batch_size": BATCH, **changes})


def trained(model: nn.Module | None = None, **changes: Any) -> nn.Module:
    return fit(model or net(), DATA, config(**changes), accelerator="cpu", progress=False)


def fit_on(devices: int, folder: Path) -> None:
    """Train in so many processes; ``fit DEVICES`` in the folder holds logs and weights."""
    own = folder / f"fit {devices}"
    ann = fit(
        net(), DATA, config(batch_size=8, lr=0.05), validation=DATA, output_dir=own, classes=3,
        accelerator="cpu", devices=devices, progress=False,
    )  # fmt: skip
    torch.save(ann.state_dict(), own / "weights.pt")


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(weights(left).values(), weights(right).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
