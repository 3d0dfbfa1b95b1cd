"""Levels that training learns: their gradient, their bounds, what is left in the end."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments._training_run import run_training
from snntorch_ecl.models import Checkpoint, load_ann
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import DeviceImages, fit
from snntorch_ecl.training._device_loop import DeviceLoop
from snntorch_ecl.training._learned_levels import LearnedLevels
from snntorch_ecl.training._lightning import Classifier

from ..helpers.fits import DATA, config, net, trained
from ..helpers.parts import clips_of
from ..helpers.runs import experiment, image_folder

pytestmark = pytest.mark.usefixtures("quick_pictures")


def levels_of(model: nn.Module) -> list[int | None]:
    return [clip.levels for clip in clips_of(model).values()]


@pytest.mark.parametrize(
    ("level", "low", "high"), [(1.0, 1, 2), (1.5, 1, 2), (2.0, 2, 3), (2.9, 2, 3), (3.0, 2, 3)]
)
def test_a_clip_stands_between_two_whole_levels_and_so_does_its_gradient(
    level: float, low: int, high: int
) -> None:
    x = torch.linspace(-0.5, 1.5, 41, requires_grad=True)
    net = nn.Sequential(ecl.ThresholdClip(3, 1.0))
    learned = LearnedLevels(net)
    learned.shares[0].data.fill_(level / 3)
    out = net(x[None])[0]
    ends = [ecl.functional.threshold_clip(x, 1.0, L) for L in (low, high)]
    share = level - low
    torch.testing.assert_close(out, (1 - share) * ends[0] + share * ends[1])
    weights = torch.rand(41)
    out.backward(weights)
    slope = (weights * (ends[1] - ends[0])).sum()  # ∂/∂ℓ, and ℓ is 3 times the share
    torch.testing.assert_close(learned.shares[0].grad, 3 * slope)
    torch.testing.assert_close(x.grad, weights * ((x > 0) & (x < 1)))


def test_the_penalty_counts_neurons_times_levels() -> None:
    net = nn.Sequential(ecl.ThresholdClip(4, 1.0), nn.Linear(6, 2), ecl.ThresholdClip(3, 1.0))
    learned = LearnedLevels(net)
    net(torch.rand(5, 6))
    assert float(learned.penalty().detach()) == pytest.approx(1.0)
    learned.shares[0].data.fill_(1 / 4)
    assert float(learned.penalty().detach()) == pytest.approx((6 * 1 + 2 * 3) / (6 * 4 + 2 * 3))
    learned.finish()
    assert levels_of(net) == [1, 3]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_whole_levels_stay_as_they_are_whatever_momentum_says() -> None:
    net = nn.Sequential(ecl.ThresholdClip(3, 1.0))
    learned, x = LearnedLevels(net), torch.rand(4, 7)
    learned.shares[0].data.fill_(2.2 / 3)
    learned.begin_epoch(1, 3)
    assert float(learned.level(0).detach()) == pytest.approx(2.2)
    learned.begin_epoch(2, 3)
    torch.testing.assert_close(net(x), ecl.functional.threshold_clip(x, 1.0, 2))
    (net(x).sum() + learned.penalty()).backward()
    assert float(learned.shares[0].grad) == 0
    learned.shares[0].data -= 0.4
    learned.keep_within()
    assert float(learned.level(0).detach()) == pytest.approx(2)


def test_the_penalty_decides_how_many_are_left() -> None:
    assert levels_of(trained(level_penalty=1e-9)) == [4, 4]
    assert levels_of(trained(level_penalty=100.0, epochs=6)) == [1, 1]
    model = net()
    fit(model, DATA, config(level_penalty=0.1), accelerator="cpu", progress=False)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    copy.deepcopy(model)


def test_a_layer_that_nobody_hears_loses_its_levels_and_another_keeps_them() -> None:
    """Four classes along a line: one neuron must show four values; another is not read."""

    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(1, n) for n in (1, 1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.a(x))) + 0.0 * torch.relu(self.b(x))

    torch.manual_seed(0)
    ann = ecl.prepare(Deaf(), levels=6).train()
    for name in ("a", "b"):
        nn.init.ones_(ann.get_submodule(name).weight)
    x = torch.rand(256, 1)
    data = TensorDataset(x, (4 * x[:, 0]).long())
    recipe = config(level_penalty=0.05, epochs=24, batch_size=32, lr=0.5, weight_decay=0.0)
    fit(ann, data, recipe, accelerator="cpu", classes=4, progress=False)
    heard, deaf = levels_of(ann)
    assert deaf == 1
    assert heard in (3, 4, 5, 6)


@pytest.mark.parametrize("cut", [(0, 3), pytest.param((2, 1), marks=pytest.mark.slow)])
def test_a_run_writes_its_levels_and_one_that_was_cut_has_the_same(
    cut: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut while levels are learned; weekly also when they are whole."""
    settings = experiment(image_folder(tmp_path / "images"), levels=5, train={"level_penalty": 5.0})

    def run(folder: str, **options: Any) -> Checkpoint:
        options = {"accelerator": "cpu", "progress": False, **options}
        return load_ann(run_training(settings, tmp_path / folder, **options))

    whole = run("whole")
    levels = levels_of(whole.ann)
    assert whole.config.levels == {n: c.levels for n, c in clips_of(whole.ann).items()}
    assert {2, 3, 4} & set(levels)
    step = Classifier.training_step

    def until_cut(self: Classifier, batch: Any, index: int) -> Tensor:
        if (self.current_epoch, index) == cut:
            raise RuntimeError("power cut")
        return step(self, batch, index)

    monkeypatch.setattr(Classifier, "training_step", until_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        run("cut")
    monkeypatch.undo()
    resumed = run("cut", resume=True)
    assert levels_of(resumed.ann) == levels
    for a, b in zip(resumed.ann.parameters(), whole.ann.parameters(), strict=True):
        assert torch.equal(a, b)


def test_where_no_levels_can_be_learned_it_is_said() -> None:
    with pytest.raises(ConfigError, match="set compile to false"):
        TrainConfig(level_penalty=0.1, compile=True)
    for model in (nn.Sequential(nn.Linear(4, 3)), ecl.prepare(net(), levels=1)):
        with pytest.raises(ConfigError, match="clips have two levels or more"):
            fit(model, DATA, config(level_penalty=0.1), accelerator="cpu", progress=False)
    images = DeviceImages(torch.zeros(32, 3, 8, 8, dtype=torch.uint8), torch.arange(32) % 2)
    with pytest.raises(ConfigError, match="learns no levels"):
        DeviceLoop(net(), images, TrainConfig(level_penalty=0.1))
