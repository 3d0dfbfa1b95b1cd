"""Weights fitted to what arrives at a layer, against solutions written out."""

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._compensate import compensate
from snntorch_ecl.conversion._least_squares import least_squares
from tests.helpers.residual import STEPS, changed, currents, images, relu_network

# What corrections do, however they are judged; tests/conversion/test_compensation.py judges them.
pytestmark = pytest.mark.usefixtures("all_kept")


def current_errors(snn: ecl.SpikingNetwork, model: nn.Module, data: Tensor) -> dict[str, float]:
    return {
        name: float((steps.mean(0) - wanted).norm() / wanted.norm())
        for name, (steps, wanted) in currents(snn, model, data).items()
    }


def test_weights_bring_every_image_nearer_to_its_ann() -> None:
    model = relu_network()
    ann = ecl.prepare(model)
    ann = ecl.calibrate(ann, [images()], method="percentile", percentile=70, progress=False)
    snn = ecl.convert(ann)
    better = compensate(snn, model, [images()], num_steps=STEPS, progress=False)
    before, after = (current_errors(s, model, images()) for s in (snn, better))
    assert after["relu"] < 1e-5  # the stem computes what the ANN computes
    for name in ("relu1", "relu2"):
        assert after[name] < 0.9 * before[name], (name, before, after)
    unseen = torch.randn(200, 2, 8, 8, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        wanted = model(unseen)
        errors = [float((s(unseen, num_steps=STEPS) - wanted).norm()) for s in (snn, better)]
    assert errors[1] < 0.8 * errors[0]


def test_the_fit_is_that_of_linear_algebra_where_there_are_few_weights() -> None:
    """Conjugate gradients are exact after as many steps as there are unknowns."""
    generator = torch.Generator().manual_seed(3)
    x, wanted = (torch.randn(40, n, generator=generator).double() for n in (3, 2))
    expected = torch.linalg.lstsq(x, wanted).solution.T
    for row, target in zip(expected, wanted.T, strict=True):
        groups = list(zip(target[:, None].split(30), x.split(30), strict=True))
        found = least_squares(
            lambda w, part: nn.functional.linear(part, w), torch.zeros(1, 3).double(), groups
        )
        torch.testing.assert_close(found[0], row, rtol=1e-6, atol=1e-8)


def test_a_layer_that_needs_no_fit_gets_none() -> None:
    groups = [(torch.ones(4, 2), torch.zeros(4, 1))]
    found = least_squares(lambda w, x: x @ w.T, torch.zeros(2, 1), groups)
    assert torch.equal(found, torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(3, 4, 3, padding=1), (3, 6)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1, groups=1), (3, 6, 6)),
        (nn.Conv2d(4, 4, 3, groups=2), (4, 5, 5)),
        (nn.Conv3d(2, 3, 2), (2, 3, 3, 3)),
        (nn.ConvTranspose2d(3, 4, 2, 2), (3, 3, 3)),
        (nn.Linear(6, 4), (6,)),
        (nn.Linear(5, 4), (3, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_every_kind_of_layer_is_fitted(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    first = ecl.ThresholdClip(None, 2.0)
    model = nn.Sequential(first, layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    data = torch.rand(60, *shape)
    with torch.no_grad():
        model(data)
    ann = ecl.prepare(model)
    ann = ecl.calibrate(ann, [data], method="percentile", percentile=50, progress=False)
    snn = ecl.convert(ann)
    better = compensate(snn, model, [data], num_steps=STEPS, progress=False)
    before, after = (current_errors(s, model, data)["2"] for s in (snn, better))
    assert after < 0.9 * before
    assert not torch.equal(better.net.get_submodule("1").weight, layer.weight)


def test_a_layer_on_the_input_that_is_added_later_is_fitted() -> None:
    """It runs once for all steps; what it is added to comes at every step."""

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(4, 6)
            self.relu, self.relu1, self.fc = nn.ReLU(), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(self.relu1(self.b(self.relu(self.a(x))) + self.c(x)))
            return out

    torch.manual_seed(0)
    model, data = Late().eval(), torch.randn(60, 4)
    ann = ecl.prepare(model)
    ann = ecl.calibrate(ann, [data], method="percentile", percentile=50, progress=False)
    snn = ecl.convert(ann)
    better = compensate(snn, model, [data], num_steps=STEPS, progress=False)
    before, after = (current_errors(s, model, data)["relu1"] for s in (snn, better))
    assert after < 0.9 * before
    assert not torch.equal(better.net.c.weight, snn.net.c.weight)


def test_computed_weights_are_left_to_themselves() -> None:
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3))
    layers = (nn.Conv2d(2, 4, 3), nn.ReLU(), conv, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    names = changed(nn.Sequential(*layers), images(), method="weights")
    assert names - {"net.0.weight", "net.0.bias"} == {"net.2.bias", "net.5.weight", "net.5.bias"}
