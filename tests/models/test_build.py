"""Networks of the literature: their known sizes, and that they convert."""

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.models import build

# Counted by hand from the layer shapes: convolutions without bias, batch norms, linear layers.
# ResNet-20 of He et al. has 0.27 M, ResNet-18 for CIFAR 11.17 M.
PARAMETERS = {"resnet20": 272_474, "resnet18": 11_173_962, "resnet34": 21_282_122}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_known_sizes(name: str, count: int) -> None:
    assert sum(p.numel() for p in build(name, classes=10).parameters()) == count


@pytest.mark.parametrize(
    ("name", "clips", "size"), [("resnet20", 19, 32), ("digit_net", 6, 28), ("vgg16", 15, 32)]
)
def test_they_convert_with_a_neuron_for_each_activation(name: str, clips: int, size: int) -> None:
    ann = ecl.prepare(build(name, classes=7).train())
    x = torch.rand(2, 1 if name == "digit_net" else 3, size, size)
    ann(x)
    snn = ecl.convert(ann)
    assert len(snn.neurons) == clips
    assert snn(x, num_steps=2).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet34", "vgg16"])
def test_there_is_no_max_pooling(name: str) -> None:
    assert not any(isinstance(m, nn.MaxPool2d) for m in build(name, classes=10).modules())


def test_torchvision_networks_are_built_by_name() -> None:
    from torchvision.models import SqueezeNet

    assert isinstance(build("torchvision/squeezenet1_1", classes=3), SqueezeNet)


@pytest.mark.parametrize("name", ["lenet", "torchvision/lenet"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"no network '{name}'; choose one of digit_net, resnet18"
    ):
        build(name, classes=10)
