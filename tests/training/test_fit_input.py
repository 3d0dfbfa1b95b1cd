"""What training is given, and what it refuses."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import snntorch_ecl as ecl
from snntorch_ecl.errors import DataError
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit
from snntorch_ecl.training._thresholds import start_thresholds
from tests.helpers.fits import (
    BATCH,
    DATA,
    config,
    net,
    problem,
    same,
    trained,
)
from tests.helpers.parts import clips_of


@pytest.mark.parametrize("samples", [0, BATCH - 1])
def test_less_data_than_one_batch_is_refused(samples: int) -> None:
    data = torch.utils.data.Subset(DATA, range(samples))
    with pytest.raises(DataError, match=f"{samples} training images, fewer than batch_size=16"):
        fit(net(), data, config(), accelerator="cpu", progress=False)


# ------------------------------------------------------------------------- start_thresholds


def test_thresholds_start_from_the_batch_they_are_given() -> None:
    model, images = net(), problem()[0]
    start_thresholds(model, images)
    highest = model.get_submodule("0")(images).detach().max()  # of fewer than 1,000 activations
    assert torch.equal(next(iter(clips_of(model).values())).threshold.detach(), highest)


def test_thresholds_that_are_set_stay_and_nothing_runs() -> None:
    model = net()
    for clip in clips_of(model).values():
        clip.threshold = 0.7
    start_thresholds(model.eval(), torch.full((2, 4), math.nan))
    assert not model.training
    assert [clip.threshold.item() for clip in clips_of(model).values()] == pytest.approx([0.7, 0.7])


def test_a_network_in_eval_mode_learns_like_one_in_training_mode() -> None:
    def normed(mode: bool) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            layers = (nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
            ann = ecl.prepare(nn.Sequential(*layers), levels=4)
        start_thresholds(ann, DATA.tensors[0])
        return ann.train(mode)

    found = trained(normed(False))
    assert same(found, trained(normed(True)))
    statistics = "1.running_mean"
    assert not torch.equal(found.state_dict()[statistics], normed(False).state_dict()[statistics])


@pytest.mark.parametrize("beyond", ["train", "validation"])
def test_labels_beyond_the_classes_are_named(beyond: str) -> None:
    images, labels = DATA.tensors
    wrong = TensorDataset(images, labels + 5)
    data, validation = (wrong, DATA) if beyond == "train" else (DATA, wrong)
    with pytest.raises(DataError, match=r"labels range from 5 to 7, .* has classes 0 to 2"):
        fit(
            net(), data, TrainConfig(epochs=1, batch_size=BATCH), validation=validation,
            classes=3, accelerator="cpu", progress=False,
        )  # fmt: skip
