"""Early exit: each image stops where a whole run says it may, and drops out of the batch."""

import json
from typing import Any

import pytest
import snntorch
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._compensate import compensate
from snntorch_ecl.errors import ConfigError, DataError, InputError
from snntorch_ecl.measurement._early_exit import exit_curve
from tests.helpers.nets import BY_NAME, exact
from tests.helpers.parts import on_grid

STEPS = 8
NETS = ("residual", "max-pool overlapping", "concat", "two inputs")


def inputs_of(name: str, batch: int = 12) -> tuple[Tensor, ...]:
    return tuple(on_grid(x, 64) for x in BY_NAME[name].inputs(batch))


def from_a_whole_run(
    snn: ecl.SpikingNetwork, inputs: tuple[Tensor, ...], confidence: float, min_steps: int = 1
) -> list[tuple[int, int]]:
    """Class and step of each image, one image and one step after the other."""
    with torch.no_grad():
        logits = snn.logits_over_time(*inputs, num_steps=STEPS)
    answers = []
    for image in range(logits.shape[1]):
        for step in range(STEPS):
            chance = logits[step, image].softmax(0)
            sure = chance.max() >= confidence and step + 1 >= min_steps
            if sure or step == STEPS - 1:
                answers.append((int(chance.argmax()), step + 1))
                break
    return answers


@pytest.mark.parametrize("min_steps", [1, 2, 5, STEPS])
@pytest.mark.parametrize("confidence", [0.34, 0.38, 0.45, 0.5, 1.0])
@pytest.mark.parametrize("name", NETS)
def test_each_image_stops_where_a_whole_run_says(
    name: str, confidence: float, min_steps: int
) -> None:
    snn, inputs = exact(name), inputs_of(name)
    found = snn.predict(*inputs, max_steps=STEPS, confidence=confidence, min_steps=min_steps)
    expected = from_a_whole_run(snn, inputs, confidence, min_steps)
    assert list(zip(found.classes.tolist(), found.steps.tolist(), strict=True)) == expected
    assert found.mean_steps == sum(step for _, step in expected) / len(expected)


def test_images_that_have_stopped_cost_nothing_more() -> None:
    snn, inputs = exact("residual"), inputs_of("residual")
    rows: list[int] = []
    hook = snn.net.get_submodule("0").register_forward_pre_hook(
        lambda m, args: rows.append(len(args[0]))
    )
    found = snn.predict(*inputs, max_steps=STEPS, confidence=0.5)
    hook.remove()
    assert rows == [int((found.steps >= t).sum()) for t in range(1, int(found.steps.max()) + 1)]
    assert rows[-1] < rows[0]  # some did stop early


def test_state_is_fresh_before_and_after() -> None:
    snn, inputs = exact("residual"), inputs_of("residual")
    first = snn.predict(*inputs, max_steps=STEPS, confidence=0.5)
    snn.step(*inputs)
    again = snn.predict(*inputs, max_steps=STEPS, confidence=0.5)
    assert torch.equal(first.steps, again.steps)
    snn.step(*[x[:2] for x in inputs])  # another batch size: nothing was left over
    snn.reset()


def test_neurons_that_cannot_drop_images_keep_them_all() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), ecl.ThresholdClip(4, 1.0), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )
    for layer in (model[0], model[2], model[4]):
        layer.weight.data *= 4
    handlers: Any = {nn.Tanh: lambda m, site: snntorch.Leaky(beta=0.5, init_hidden=True)}
    snn, x = ecl.convert(model, handlers=handlers), 2 * torch.randn(30, 4)
    found = snn.predict(x, max_steps=STEPS, confidence=0.8, min_steps=1)
    expected = from_a_whole_run(snn, (x,), 0.8)
    assert list(zip(found.classes.tolist(), found.steps.tolist(), strict=True)) == expected
    assert 1 < found.mean_steps < STEPS  # some stopped before the others


@pytest.mark.usefixtures("all_kept")
def test_corrections_of_each_step_go_along() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(40, 4)
    ann = ecl.calibrate(ecl.prepare(model), [x], progress=False)
    snn = compensate(ecl.convert(ann), model, [x], num_steps=4, method="steps", progress=False)
    found = snn.predict(x, max_steps=STEPS, confidence=0.4, min_steps=1)
    expected = from_a_whole_run(snn, (x,), 0.4)
    assert list(zip(found.classes.tolist(), found.steps.tolist(), strict=True)) == expected
    assert 1 < found.mean_steps < STEPS


# -------------------------------------------------------------------------------------- the curve


def labelled(name: str) -> list[tuple[Tensor, Tensor]]:
    (x,) = inputs_of(name, 30)
    labels = torch.arange(30) % 3
    return [(x[:20], labels[:20]), (x[20:], labels[20:])]


def test_the_curve_is_that_of_predicting_at_each_confidence() -> None:
    snn, data = exact("residual"), labelled("residual")
    curve = exit_curve(snn, data, max_steps=STEPS, confidences=(0.35, 0.5, 1.0), progress=False)
    for point in curve.points:
        found = [snn.predict(x, max_steps=STEPS, confidence=point.confidence) for x, _ in data]
        steps = sum(int(f.steps.sum()) for f in found)
        right = sum(int((f.classes == y).sum()) for f, (_, y) in zip(found, data, strict=True))
        assert (point.mean_steps, point.accuracy) == (steps / 30, right / 30)
    evaluation = ecl.evaluate(snn, data, num_steps=STEPS, progress=False)
    assert curve.fixed == evaluation.accuracy
    assert curve.points[-1].mean_steps == STEPS
    assert curve.points[-1].accuracy == curve.fixed[-1]


def test_the_curve_for_people_programs_and_eyes() -> None:
    curve = exit_curve(exact("residual"), labelled("residual"), max_steps=4, progress=False)
    assert "Early exit on 30 images, at most 4 steps" in str(curve)
    assert json.loads(json.dumps(curve.to_dict()))["points"][0]["confidence"] == 0.5
    lines = curve.plot().axes[0].get_lines()
    assert list(lines[0].get_xdata()) == [1, 2, 3, 4]
    assert list(lines[1].get_xdata()) == [point.mean_steps for point in curve.points]


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("confidence", [0.0, -1.0, 1.1, float("nan"), "high"])
def test_an_impossible_confidence_is_refused(confidence: Any) -> None:
    snn = exact("residual")
    with pytest.raises(ConfigError, match=r"confidence must lie in \(0, 1\]"):
        snn.predict(*inputs_of("residual"), max_steps=2, confidence=confidence)
    with pytest.raises(ConfigError, match=r"confidence must lie in \(0, 1\]"):
        exit_curve(snn, labelled("residual"), max_steps=2, confidences=(confidence,))


def test_other_bad_input_is_refused() -> None:
    snn = exact("residual")
    with pytest.raises(ConfigError, match="min_steps must be an integer >= 1; got 0"):
        snn.predict(*inputs_of("residual"), max_steps=2, min_steps=0)
    with pytest.raises(ConfigError, match="min_steps=4 is more than T=3"):
        snn.predict(*inputs_of("residual"), max_steps=3, min_steps=4)
    with pytest.raises(ConfigError, match="min_steps must be an integer >= 1; got 0"):
        exit_curve(snn, labelled("residual"), max_steps=2, min_steps=0)
    with pytest.raises(ConfigError, match="num_steps"):
        snn.predict(*inputs_of("residual"), max_steps=0)
    with pytest.raises(InputError, match="takes 1 input"):
        snn.predict(max_steps=2)
    with pytest.raises(DataError, match="the data is empty"):
        exit_curve(snn, [], max_steps=2)
    pair = exact("two outputs")
    with pytest.raises(InputError, match="one output, logits"):
        pair.predict(*inputs_of("two outputs"), max_steps=2)
