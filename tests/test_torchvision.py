"""Every classification network of torchvision: it converts as it is, or one error says why not."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.regnet import BlockParams

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError

# What has no spiking counterpart here. Whatever holds one of these must be refused.
CONVERTIBLE = (
    "alexnet", "densenet", "googlenet", "inception_v3", "mnasnet", "mobilenet_v2", "mobilenet_v3",
    "regnet_x", "regnet_y", "resnet", "resnext", "shufflenet_v2", "squeezenet", "vgg",
    "wide_resnet",
)  # fmt: skip
# The smallest images that pass all of a network's pooling; 32 pixels do for the others.
SIDE = {"alexnet": 64, "inception_v3": 80}
# What is far behind comes later: an error of one layer takes its steps through all others.
STEPS = {"alexnet": 16, "inception_v3": 128, "resnet152": 192, "resnet101": 128, "resnet34": 128}

NAMES = models.list_models(module=models)
CONVERTED = [name for name in NAMES if name.startswith(CONVERTIBLE)]
# What a family can have: shortcuts, concatenation, plain chains, gates, shuffled channels. The
# others run with `-m slow`, as do all but the quickest of what is refused.
FAST = {"mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_0", "vgg11_bn"}
FAST_REFUSED = {"convnext_tiny", "efficientnet_b0", "swin_t", "vit_b_16"}
# One of each family, and where norms make a difference two. ResNeXt and wide ResNets have the graph
# of resnet50, and inception_v3 has the layers of googlenet.
EACH_FAMILY = {
    "alexnet", "densenet121", "googlenet", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small",
    "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x0_5",
    "squeezenet1_0", "vgg11", "vgg11_bn",
}  # fmt: skip
REFUSED = [name for name in NAMES if not name.startswith(CONVERTIBLE)]


def network(name: str) -> nn.Module:
    untrained = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models.get_model(name, weights=None, num_classes=10, **untrained).eval()


def narrow(name: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The network with 128 where its classifier has 4096: the same graph, and no 500 MB."""

    def init(self: nn.Linear, in_features: int, out_features: int) -> None:
        whole(self, *(128 if size == 4096 else size for size in (in_features, out_features)))

    whole = nn.Linear.__init__
    with monkeypatch.context() as patch:
        patch.setattr(nn.Linear, "__init__", init)
        return network(name)


def alive(model: nn.Module, images: Tensor) -> None:
    """Statistics from data, and norms that open most ReLUs.

    Deep networks with purely random norms are chaotic: what differs in the first layer by a
    rounding error differs in the last by everything. Trained networks are not like that.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        nn.init.uniform_(norm.weight, 0.2, 0.6)
        nn.init.uniform_(norm.bias, 0.5, 1.0)
        norm.train()
    with torch.no_grad():
        model(images)
    model.eval()


def test_all_networks_are_accounted_for() -> None:
    assert len(CONVERTED) >= 52
    assert len(REFUSED) >= 27
    assert set(CONVERTED) >= EACH_FAMILY >= FAST
    assert set(REFUSED) >= FAST_REFUSED


def some(names: list[str], fast: set[str]) -> pytest.MarkDecorator:
    marks = {name: [] if name in fast else [pytest.mark.slow] for name in names}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=m) for n, m in marks.items()])


@some(CONVERTED, FAST)
def test_it_converts_without_an_edit_and_approaches_its_ann(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = narrow(name, monkeypatch) if name in EACH_FAMILY else network(name)
    side = SIDE.get(name, 32)
    images = torch.rand(8, 3, side, side)
    alive(model, images)
    ann = ecl.prepare(model, levels=None)
    with torch.inference_mode():
        wanted = model(images[:1])
        assert torch.equal(ann(images[:1]), wanted)
    snn = ecl.convert(ecl.calibrate(ann, [images[:1]], method="max", progress=False))
    with torch.inference_mode():
        logits = snn.logits_over_time(images[:1], num_steps=STEPS.get(name, 64))
    errors = [float((logits[t] - wanted).norm() / wanted.norm()) for t in (3, -1)]
    assert errors[1] < 0.3
    assert errors[1] < errors[0] / 2


@some(REFUSED, FAST_REFUSED)
def test_one_error_lists_all_that_cannot_convert_or_says_that_nothing_would_spike(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def widths(*args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):  # torchvision computes them with tensors
            return computed(*args, **kwargs)

    computed = BlockParams.from_init_params
    monkeypatch.setattr(BlockParams, "from_init_params", widths)
    with torch.device("meta"):  # no memory for weights: one of these has 640 million
        model = network(name)
    with pytest.raises(UnsupportedError) as caught:
        ecl.prepare(model)
    listed = "\n".join(caught.value.sites)
    # MaxViT's attention is followed only where the shapes are known.
    opaque = ("shifted_window_attention", "SwapAxes", "mixes", "batch size", "with an example")
    assert "it has no ReLU" in listed or any(name in listed for name in opaque)
