"""A bias for each step: what it corrects, and how it is kept."""

import copy
from pathlib import Path

import pytest
import snntorch.utils
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._compensate import compensate
from snntorch_ecl.errors import CheckpointError, ConfigError, DataError
from snntorch_ecl.nn._step_bias import StepBias
from tests.helpers.nets import BY_NAME
from tests.helpers.residual import METHODS, STEPS, converted, currents, fitted, images, relu_network

# What corrections do, however they are judged; tests/conversion/test_compensation.py judges them.
pytestmark = pytest.mark.usefixtures("all_kept")


def test_each_step_gets_the_mean_current_of_the_ann() -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method="steps", progress=False
    )
    for name, (steps, current) in currents(better, model, fitted(images())).items():
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
    with pytest.raises(
        ConfigError, match="method must be one of weights, biases, steps, distill; got 'w'"
    ):
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
