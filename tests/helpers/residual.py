"""A small residual network, trained with ReLU, its images, and how far its spikes are from it."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._compensate import compensate
from snntorch_ecl.nn._temporal import unfold

STEPS = 4
METHODS = ("weights", "biases", "steps")


class Residual(nn.Module):
    """A stem, one residual block and a readout, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        self.conv1, self.relu1 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu2(self.conv2(self.relu1(self.conv1(x))) + x)
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


def relu_network() -> nn.Module:
    torch.manual_seed(4)
    model = Residual()
    model.train()(images())
    return model.eval()


def images() -> Tensor:
    return torch.randn(80, 2, 8, 8, generator=torch.Generator().manual_seed(2))


def converted(model: nn.Module) -> ecl.SpikingNetwork:
    ann = ecl.calibrate(ecl.prepare(model), [images()], method="max", progress=False)
    return ecl.convert(ann)


def mean_errors(snn: ecl.SpikingNetwork, model: nn.Module) -> dict[str, float]:
    """Distance of each layer's mean spikes from its mean activations, channel by channel."""
    seen: dict[str, Tensor] = {}
    for name, module in [*model.named_modules(), *snn.neurons.items()]:
        key = f"snn {name}" if isinstance(module, ecl.DualThreshold) else f"ann {name}"
        module.register_forward_hook(lambda m, a, out, key=key: seen.__setitem__(key, out))
    with torch.no_grad():
        model(images())
        snn(images(), num_steps=STEPS)
    errors = {}
    for name in snn.neurons:
        spikes, activation = (seen[f"{kind} {name}"].mean((0, 2, 3)) for kind in ("snn", "ann"))
        errors[name] = float((spikes - activation).norm() / activation.norm())
    return errors


def fitted(data: Tensor) -> Tensor:
    """The images that corrections are fitted to; the others are held out."""
    return data[torch.arange(len(data)) % 4 != 1]


def changed(model: nn.Module, data: Tensor, method: Any = "biases") -> set[str]:
    """Names of what compensation changes in a network made from a ReLU network."""
    ann = ecl.calibrate(ecl.prepare(model.eval()), [data], method="max", progress=False)
    snn = ecl.convert(ann)
    before = snn.state_dict()
    better = compensate(snn, model, [data], num_steps=STEPS, method=method, progress=False)
    after = better.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def currents(
    snn: ecl.SpikingNetwork, model: nn.Module, data: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """What reaches each neuron, ``[T, B, C, ...]``, and each of the ANN's activations."""
    snn, model, seen = copy.deepcopy(snn), copy.deepcopy(model), {}

    def spiking(name: str) -> Any:
        def hook(m: nn.Module, args: Any, kwargs: Any) -> None:
            seen[name] = unfold(args[0], STEPS, kwargs["held"])

        return hook

    for name, neuron in snn.neurons.items():
        neuron.register_forward_pre_hook(spiking(name), with_kwargs=True)
        model.get_submodule(name).register_forward_pre_hook(
            lambda m, args, name=name: seen.__setitem__(f"ann {name}", args[0])
        )
    with torch.no_grad():
        model(data)
        snn(data, num_steps=STEPS)
    return {name: (seen[name], seen[f"ann {name}"]) for name in snn.neurons}
