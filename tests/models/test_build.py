"""Networks of the literature: their known sizes, and that they convert."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.models import build, vgg16

# Counted by hand from the layer shapes: convolutions without bias, batch norms, linear layers.
# ResNet-20 of He et al. has 0.27 M, ResNet-18 for CIFAR 11.17 M.
PARAMETERS = {"resnet20": 272_474, "resnet18": 11_173_962, "resnet34": 21_282_122}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_known_sizes(name: str, count: int) -> None:
    with torch.device("meta"):  # no memory for weights
        assert sum(p.numel() for p in build(name, classes=10).parameters()) == count


SMALL_IMAGE, DIGIT = (3, 32, 32), (1, 28, 28)


@pytest.mark.parametrize(
    ("network", "clips", "shape"),
    [
        (partial(build, "resnet20"), 19, SMALL_IMAGE),
        (partial(build, "digit_net"), 6, DIGIT),
        (partial(vgg16, hidden=64), 15, SMALL_IMAGE),
    ],
    ids=["resnet20", "digit_net", "vgg16"],
)
def test_they_convert_with_a_neuron_for_each_activation(
    network: Callable[..., nn.Module], clips: int, shape: tuple[int, ...]
) -> None:
    ann = ecl.prepare(network(classes=7).train())
    x = torch.rand(2, *shape)
    ann(x)
    snn = ecl.convert(ann)
    assert len(snn.neurons) == clips
    assert snn(x, num_steps=2).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet34", "vgg16"])
def test_there_is_no_max_pooling(name: str) -> None:
    with torch.device("meta"):
        assert not any(isinstance(m, nn.MaxPool2d) for m in build(name, classes=10).modules())


def test_torchvision_networks_are_built_by_name() -> None:
    from torchvision.models import SqueezeNet

    assert isinstance(build("torchvision/squeezenet1_1", classes=3), SqueezeNet)


@pytest.mark.parametrize("name", ["lenet", "torchvision/lenet"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"no network '{name}'; choose one of conv_vit, digit_net, resnet18"
    ):
        build(name, classes=10)
