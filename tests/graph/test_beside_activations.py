"""What stands beside activations: weights that code reads, rectified parameters, hooks."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import TraceError, UnsupportedError
from snntorch_ecl.graph._affinity import is_not_affine

from ..helpers.distances import distance_at, images, seeded
from ..helpers.parts import wired

# ------------------------------------------------------------------------------------- parameters


def test_a_weight_that_code_reads_too_is_not_folded() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.norm(m.conv(x)))
        return m.head(F.relu(F.conv2d(x, m.conv.weight, padding=1)).mean((2, 3)))

    def build() -> nn.Module:
        norm = nn.BatchNorm2d(4)
        norm.running_var.fill_(0.05)  # type: ignore[union-attr]
        return wired(forward, conv=nn.Conv2d(4, 4, 3, padding=1), norm=norm, head=nn.Linear(4, 3))

    assert distance_at(seeded(build), images(8, 4, 5, 5), 256) < 0.05


def fusion(weight: Tensor) -> nn.Module:
    """Two branches added with rectified weights, as BiFPN does."""

    def forward(m: Any, x: Tensor) -> Tensor:
        weights = m.act(m.weight)
        weights = weights / (weights.sum() + 1e-4)
        a, b = m.act(m.a(x)), F.relu(m.b(x))
        return m.head((weights[0] * a + weights[1] * b).flatten(1))

    return wired(
        forward, a=nn.Linear(3, 6), b=nn.Linear(3, 6), head=nn.Linear(6, 2), act=nn.ReLU(),
        weight=nn.Parameter(weight),
    )  # fmt: skip


def test_a_rectified_parameter_is_no_neuron() -> None:
    net = seeded(lambda: fusion(torch.tensor([1.0, -0.6, 0.6])))
    ann = ecl.prepare(net)
    x = images(20, 3)
    assert torch.equal(ann(x), net(x))
    snn = ecl.convert(ecl.calibrate(ann, [x], method="max"))
    assert len(snn.neurons) == 2
    assert distance_at(net, x, 512) < 0.02
    assert distance_at(net, x, 512, unit_spikes=True) < 0.02


def test_an_activation_of_parameters_need_not_convert() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.b(torch.sigmoid(m.gate) * F.relu(m.a(x)))

    gate = nn.Parameter(torch.linspace(-1, 1, 6))
    net = seeded(lambda: wired(forward, a=nn.Linear(3, 6), b=nn.Linear(6, 2), gate=gate))
    assert distance_at(net, images(20, 3), 512) < 0.02


def test_a_returned_parameter_is_refused_before_any_training() -> None:
    def forward(m: Any, x: Tensor) -> dict[str, Tensor]:
        return {"logits": m.b(F.relu(m.a(x))), "scale": m.scale.exp()}

    parts = {"a": nn.Linear(3, 6), "b": nn.Linear(6, 2)}
    net = wired(forward, scale=nn.Parameter(torch.tensor(1.0)), **parts)
    with pytest.raises(UnsupportedError, match="exp, returned by forward: it does not depend on"):
        ecl.prepare(net)


# ----------------------------------------------------------------------------------------- layers


class Centred(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return x - 0.5


class Halved(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


@pytest.mark.parametrize("kind", [Centred, Halved])
def test_a_layer_is_idle_by_what_it_does_and_not_by_descent(kind: type[nn.Module]) -> None:
    layers = (nn.Linear(4, 6), nn.ReLU(), kind(), nn.Linear(6, 3))
    assert distance_at(seeded(lambda: nn.Sequential(*layers)), images(20, 4), 512) < 0.02


def test_what_is_written_into_the_input_of_such_a_layer_does_not_reach_its_output() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        y = m.centred(x)
        return m.b(y + F.relu_(x))

    parts = {"a": nn.Linear(4, 6), "centred": Centred(), "b": nn.Linear(6, 2)}
    net, x = seeded(lambda: wired(forward, **parts)), images(20, 4)
    torch.testing.assert_close(ecl.prepare(net)(x), net(x))


class HalfPrecision(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16()).float()


def test_rounding_is_not_taken_for_bending() -> None:
    assert not is_not_affine(HalfPrecision(64, 64))
    assert is_not_affine(Squared(64, 64))


class Rectifying(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Standardised(nn.Conv2d):
    """Affine, though it computes its weight and pads by the size of its x."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        short = max(0, 10 - int(x.shape[-1]))
        return F.conv2d(F.pad(x, (short, 0, short, 0)), weight, self.bias)


class Squared(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * x.mean()


@pytest.mark.parametrize("kind", [Rectifying, Squared])
def test_a_layer_that_descends_from_a_linear_one_may_not_be_linear(kind: Any) -> None:
    layer = kind(3, 4, 3) if kind is Rectifying else kind(3, 4)
    head = (nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    net = nn.Sequential(layer, *head)
    x = images(8, 3, 6, 6) if kind is Rectifying else images(8, 3)
    net(x)
    with pytest.raises(
        UnsupportedError, match=rf"0 \({kind.__name__}\): its forward is not affine"
    ):
        ecl.prepare(net)
    ecl.prepare(net, handlers={kind: ecl.keep})  # whoever says so knows


def test_a_layer_with_a_forward_of_its_own_may_be_linear() -> None:
    net = nn.Sequential(Standardised(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()
    x = images(8, 3, 6, 6)
    net(x)
    assert distance_at(net, x, 512) < 0.02


def test_clips_are_where_the_network_is() -> None:
    """On an accelerator θ per channel would meet currents on another device."""
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    ann = ecl.prepare(net, per_channel=True)
    assert {p.device.type for p in (*ann.parameters(), *ann.buffers())} == {"meta"}


def test_activations_may_lie_in_memory_in_any_order() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten()).eval()
    x = images(3, 2, 6, 6)
    wanted = ecl.calibrate(ecl.prepare(net), [x]).state_dict()
    found = ecl.calibrate(ecl.prepare(net.to(memory_format=torch.channels_last)), [x]).state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


# ------------------------------------------------------------------------------------------ hooks


def test_hooks_of_the_whole_network_are_part_of_it() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))

    net = seeded(build)
    net.register_forward_pre_hook(lambda module, args: (args[0] * 3 - 1,))
    net.register_forward_hook(lambda module, args, output: output * 2)
    x = images(20, 4)
    assert not torch.allclose(net(x), seeded(build)(x))
    torch.testing.assert_close(ecl.prepare(net)(x), net(x))
    assert distance_at(net, x, 512) < 0.02


def test_hooks_of_a_prepared_network_are_part_of_it_too() -> None:
    ann = ecl.prepare(seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))))
    x = images(20, 4)
    ann.train()(x)
    ann.register_forward_hook(lambda module, args, output: output * 2 + 1)
    snn = ecl.convert(ann.eval())
    with torch.no_grad():
        wanted = ann(x)
        unclipped = ecl.calibrate(ann, [x], method="max", progress=False)(x)
        assert (unclipped - wanted).norm() < 0.2 * wanted.norm()  # the hook is there too
        assert (snn(x, num_steps=512) - wanted).norm() < 0.2 * wanted.norm()
        assert (snn(x, num_steps=512) - (wanted - 1) / 2).norm() > 0.5 * wanted.norm()


def test_a_hook_that_is_a_method_works_on_the_copy() -> None:
    class Scaled(nn.Sequential):
        def scaled(self, module: nn.Module, args: Any) -> tuple[Tensor]:
            return (args[0] * self.factor,)

    net = Scaled(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    net.factor = nn.Parameter(torch.tensor(3.0))
    net.register_forward_pre_hook(net.scaled)
    x = images(20, 4)
    torch.testing.assert_close(ecl.prepare(net)(x), net(x))
    assert distance_at(net, x, 512) < 0.02


def test_hooks_that_only_look_on_are_named() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    net.register_forward_hook(lambda module, args, output: print(float(output.max())))
    with pytest.raises(TraceError, match="remove those that only observe"):
        ecl.prepare(net)
