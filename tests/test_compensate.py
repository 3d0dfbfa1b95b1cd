"""Bias correction: means match layer by layer, and nothing else is touched."""

import copy
from pathlib import Path
from typing import Any

import pytest
import snntorch.utils
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.compensate import compensate
from snntorch_ecl.correction import _least_squares
from snntorch_ecl.errors import CheckpointError, ConfigError, DataError
from snntorch_ecl.step_bias import StepBias
from snntorch_ecl.temporal import unfold
from tests.nets import BY_NAME

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


def test_every_layer_spikes_on_average_as_its_ann_activates() -> None:
    model = relu_network()
    snn = converted(model)
    better = compensate(
        snn, model, images().split(30), num_steps=STEPS, method="biases", progress=False
    )
    before = mean_errors(copy.deepcopy(snn), copy.deepcopy(model))
    after = mean_errors(better, model)
    assert max(before.values()) > 0.03  # there was something to correct
    for name in ("relu", "relu1", "relu2"):
        assert after[name] < 0.1 * max(before.values()), (name, before, after)


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_logits_match(method: Any) -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method=method, progress=False
    )
    with torch.no_grad():
        expected, found = model(images()).mean(0), better(images(), num_steps=STEPS).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


BIASES = {"net.stem.bias", "net.conv1.bias", "net.conv2.bias", "net.fc.bias"}


@pytest.mark.parametrize(
    ("method", "expected"),
    [("biases", BIASES), ("weights", BIASES | {n.replace("bias", "weight") for n in BIASES})],
)
def test_only_what_the_method_says_changes_and_the_network_given_stays(
    method: Any, expected: set[str]
) -> None:
    model = relu_network()
    snn = converted(model)
    before = copy.deepcopy(snn.state_dict())
    better = compensate(snn, model, [images()], num_steps=STEPS, method=method, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    after = better.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    # The stem computes what the ANN computes, and needs no other weights.
    assert changed >= expected - {"net.stem.weight", "net.stem.bias"}
    assert changed <= expected
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in better.modules())


@pytest.mark.parametrize("method", METHODS)
def test_it_can_be_kept(method: Any, tmp_path: Path) -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method=method, progress=False
    )
    back = ecl.load(better.save(tmp_path / "a.safetensors"), model)
    x = images()[:5]
    with torch.no_grad():
        assert torch.equal(back(x, num_steps=STEPS), better(x, num_steps=STEPS))


@pytest.mark.parametrize("method", METHODS)
def test_a_prepared_network_will_do_as_reference(method: Any) -> None:
    model = relu_network()
    one, other = (
        compensate(
            converted(model), ann, [images()], num_steps=STEPS, method=method, progress=False
        )
        for ann in (model, ecl.prepare(model))
    )
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)


def test_a_shared_convolution_is_left_alone() -> None:
    """Its bias would reach two layers at once."""
    torch.manual_seed(0)
    shared = nn.Conv2d(2, 2, 3, padding=1)
    model = nn.Sequential(
        shared, nn.ReLU(), shared, nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)
    ).eval()
    assert changed(model, images(), method="weights") == {"net.5.weight", "net.5.bias"}


def test_a_value_that_goes_elsewhere_too_takes_no_bias_along() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            out: Tensor = self.fc((self.relu(x) + x).mean((2, 3)))
            return out

    model = Twice().eval()
    snn = converted(model)
    for method in ("biases", "weights"):
        better = compensate(snn, model, [images()], num_steps=STEPS, method=method, progress=False)
        assert torch.equal(better.net.conv.bias, snn.net.conv.bias)
        assert torch.equal(better.net.conv.weight, snn.net.conv.weight)


def changed(model: nn.Module, data: Tensor, method: Any = "biases") -> set[str]:
    """Names of what compensation changes in a network made from a ReLU network."""
    ann = ecl.calibrate(ecl.prepare(model.eval()), [data], method="max", progress=False)
    snn = ecl.convert(ann)
    before = snn.state_dict()
    better = compensate(snn, model, [data], num_steps=STEPS, method=method, progress=False)
    after = better.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_a_linear_layer_over_tokens_is_left_alone() -> None:
    """Its bias is one for each feature; as many tokens as features would hide the mistake."""
    torch.manual_seed(0)
    layers = (nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Flatten())
    tokens = torch.randn(50, 4, 5, generator=torch.Generator().manual_seed(2))
    assert changed(nn.Sequential(*layers, nn.Linear(16, 3)), tokens) == {"net.5.bias"}


def test_a_bias_that_two_layers_share_is_left_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )
    model[2].bias = model[0].bias
    assert changed(model, images()) == {"net.5.bias"}


def test_an_addition_that_scales_is_not_looked_through() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()
            self.fc = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(torch.add(x, self.conv(x), alpha=3))
            out: Tensor = self.fc(x.mean((2, 3)))
            return out

    assert changed(Scaled(), images()) == {"net.fc.bias"}


# -------------------------------------------------------------------------------- least squares


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
        found = _least_squares(
            lambda w: nn.functional.linear(x, w), torch.zeros(1, 3).double(), target[:, None]
        )
        torch.testing.assert_close(found[0], row, rtol=1e-6, atol=1e-8)


def test_a_layer_that_needs_no_fit_gets_none() -> None:
    zero = torch.zeros(4, 1)
    found = _least_squares(lambda w: zero @ w.T, torch.zeros(2, 1), torch.ones(4, 2))
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


# --------------------------------------------------------------------------------- step by step


def test_each_step_gets_the_mean_current_of_the_ann() -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method="steps", progress=False
    )
    for name, (steps, current) in currents(better, model, images()).items():
        expected = current.mean((0, 2, 3)).expand(STEPS, -1)
        torch.testing.assert_close(steps.mean((1, 3, 4)), expected, rtol=1e-3, atol=1e-4, msg=name)


def test_after_the_last_step_its_correction_stays() -> None:
    layer = StepBias(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    expected = [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0], [3.0, 4.0]]
    assert layer(torch.zeros(1, 2), num_steps=3, held=3).tolist() == expected[:3]
    assert layer(torch.zeros(1, 2)).tolist() == expected[3:]
    layer.reset_mem()
    assert layer(torch.zeros(2, 2, 5), num_steps=2)[:, :, 4].tolist() == expected[:2]


def test_steps_run_alike_one_by_one_and_from_a_file(tmp_path: Path) -> None:
    model, x = relu_network(), images()[:5]
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method="steps", progress=False
    )
    back = ecl.load(better.save(tmp_path / "a.safetensors"), model)
    with torch.no_grad():
        whole = better(x, num_steps=6)  # beyond T, where the last step's correction stays
        for snn in (better, copy.deepcopy(better), back):
            for reset in (snn.reset, lambda snn=snn: snntorch.utils.reset(snn)):
                reset()
                mean = torch.stack([snn.step(x) for _ in range(6)]).mean(0)
                torch.testing.assert_close(mean, whole)
    assert [m for m in back.modules() if isinstance(m, StepBias)]


def test_a_file_with_damaged_corrections_is_refused(tmp_path: Path) -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method="steps", progress=False
    )
    path = better.save(tmp_path / "a.safetensors")
    text = path.read_bytes()
    assert text.count(b'step_biases\\": {\\"relu\\": [4, 6]') == 1
    path.write_bytes(text.replace(b'{\\"relu\\": [4, 6]', b'{\\"relu\\": [-4,6]'))
    with pytest.raises(CheckpointError, match=r"the settings in .* are damaged"):
        ecl.load(path, model)
    path.write_bytes(text.replace(b'{\\"relu\\": [4, 6]', b'{\\"relu\\": [5, 6]'))
    with pytest.raises(CheckpointError, match="does not fit Residual"):
        ecl.load(path, model)
    path.write_bytes(text.replace(b'{\\"relu\\": [4, 6]', b'{\\"relu\\": [-, 6]'))
    with pytest.raises(CheckpointError, match="damaged"):
        ecl.load(path, model)


def test_a_second_correction_goes_on_from_the_first_or_is_refused() -> None:
    model = relu_network()
    snn = compensate(converted(model), model, [images()], num_steps=STEPS, progress=False)
    again = compensate(snn, model, [images()], num_steps=STEPS, method="steps", progress=False)
    for method in METHODS:
        with pytest.raises(
            ConfigError, match=r"step by step already \(before relu, relu1, relu2\)"
        ):
            compensate(again, model, [images()], num_steps=STEPS, method=method)  # type: ignore[arg-type]


def test_bad_input_is_refused() -> None:
    model = relu_network()
    snn = converted(model)
    with pytest.raises(DataError, match="the data is empty"):
        compensate(snn, model, [], num_steps=4)
    with pytest.raises(ConfigError, match="num_steps"):
        compensate(snn, model, [images()], num_steps=0)
    with pytest.raises(ConfigError, match="method must be one of weights, biases, steps; got 'w'"):
        compensate(snn, model, [images()], num_steps=4, method="w")  # type: ignore[arg-type]
    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    with pytest.raises(ConfigError, match="no activation relu, relu1, relu2: give the network"):
        compensate(snn, other, [images()], num_steps=4)


def test_steps_before_kept_batch_norms_survive_a_file(tmp_path: Path) -> None:
    net = BY_NAME["conv + bn"]
    ann, x = net.prepared(), net.inputs(8)[0]
    snn = ecl.convert(ann, fold_batchnorms=False)
    better = ecl.compensate(snn, ann, [x], num_steps=2, method="steps", progress=False)
    loaded = ecl.load(better.save(tmp_path / "net.safetensors"), net.model())
    assert torch.equal(loaded(x, num_steps=2), better(x, num_steps=2))
