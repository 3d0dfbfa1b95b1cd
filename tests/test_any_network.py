"""Networks as users bring them: other dimensions, heads, tied and computed weights, precisions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torchvision.models import get_model

import snntorch_ecl as ecl
from snntorch_ecl.errors import TraceError
from tests.helpers.slim import slim

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def images_net(conv: nn.Module, *between: nn.Module) -> nn.Module:
    return nn.Sequential(conv, *between, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()


def tied() -> nn.Module:
    """Two convolutions with one weight, each with a norm that would scale it its own way."""
    first, second = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
    second.weight = first.weight
    norms = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    for norm in norms:
        nn.init.uniform_(norm.running_var, 0.1, 0.5)  # type: ignore[arg-type]
    return images_net(nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1]))


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).mT


def symmetric() -> nn.Module:
    layer = nn.Linear(192, 192)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(192, 3)).eval()


def pruned() -> nn.Module:
    conv = nn.Conv2d(3, 8, 3)
    prune.l1_unstructured(conv, "weight", 0.5)
    return images_net(conv, nn.BatchNorm2d(8))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "spectral norm": lambda: images_net(parametrizations.spectral_norm(nn.Conv2d(3, 8, 3))),
    "weight norm before batch norm": lambda: images_net(
        parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8)
    ),
    "symmetric weights": symmetric,
    "tied weights": tied,
    "initialised lazy layers": lambda: images_net(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d()),
    "nothing but Sequential": lambda: nn.Sequential(
        nn.Sequential(nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3)), nn.Sequential(nn.ReLU()))),
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.Sequential(nn.LazyLinear(3)))),
    ).eval(),
}


def converted(model: nn.Module, images: Tensor) -> ecl.SpikingNetwork:
    ann = ecl.prepare(model, levels=None)
    return ecl.convert(ecl.calibrate(ann, [images], method="max", progress=False))


def distance(model: nn.Module, images: Tensor, num_steps: int) -> float:
    with torch.inference_mode():
        wanted = model(images)
        found = converted(model, images)(images, num_steps=num_steps)
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_it_converts_and_approaches_its_ann(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        model(IMAGES)  # lazy layers take their shapes
    assert distance(model, IMAGES, 256) < 0.02
    assert distance(model, IMAGES, 256) < distance(model, IMAGES, 8) / 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_converts_in_any_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = images_net(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    model(IMAGES)
    model, images = model.to(dtype), IMAGES.to(dtype)
    snn = converted(model, images)
    assert {p.dtype for p in snn.parameters()} == {dtype}
    assert snn(images, num_steps=4).dtype is dtype
    assert distance(model, images, 128) < 0.05


@pytest.mark.slow  # several outputs in a dictionary: the pyramid below
@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "fcn_resnet50"])
def test_segmentation_networks_convert_with_all_their_outputs(name: str) -> None:
    torch.manual_seed(0)
    with_aux = {"aux_loss": True, "weights": None, "weights_backbone": None}
    with slim():
        model = get_model(name, num_classes=3, **with_aux).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.2, 0.6)
            nn.init.uniform_(norm.bias, 0.5, 1.0)
            norm.momentum = None
            norm.train()
    images = torch.rand(2, 3, 17, 17)
    with torch.no_grad():
        model(images)
        model.eval()
        wanted = model(images)
        found = converted(model, images)(images, num_steps=96)
    assert found.keys() == wanted.keys() == {"out", "aux"}
    for key, value in wanted.items():
        assert found[key].shape == value.shape
        assert float((found[key] - value).norm() / value.norm()) < 0.3


def test_a_detection_networks_pyramid_converts_with_all_its_levels() -> None:
    torch.manual_seed(0)
    options = {"weights": None, "weights_backbone": None, "num_classes": 3}
    with slim():
        model = get_model("retinanet_resnet50_fpn", **options).backbone.eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = model(images), converted(model, images)(images, num_steps=4)
    assert found.keys() == wanted.keys()
    assert len(found) == 5
    for key, value in wanted.items():
        assert found[key].shape == value.shape
        assert found[key].isfinite().all()


def test_a_network_that_cannot_be_copied_is_refused_with_advice() -> None:
    model = pruned()
    model(IMAGES)
    with pytest.raises(TraceError, match=r"cannot be copied: .*prune\.remove"):
        ecl.prepare(model)


@pytest.mark.parametrize("layer", [nn.LazyLinear(3), nn.LazyBatchNorm1d()])
def test_layers_without_weights_are_named(layer: nn.Module) -> None:
    with pytest.raises(TraceError, match=r"no weights yet \(1\.0\): run one batch through"):
        ecl.prepare(nn.Sequential(nn.Linear(3, 3), nn.Sequential(layer, nn.ReLU())))
