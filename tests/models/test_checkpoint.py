"""Checkpoints of trained ANNs: what is stored comes back, and foreign ones are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import CheckpointError
from snntorch_ecl.models import load_ann, load_pretrained, save_ann
from snntorch_ecl.models._checkpoint import build_ann, initial_ann, start_from
from snntorch_ecl.nn._threshold_clip import clips_of
from snntorch_ecl.settings import ExperimentConfig

CONFIG = ExperimentConfig()  # a DigitNet with L = 4
CLASSES = ("a", "b", "c")


def trained(config: ExperimentConfig = CONFIG) -> nn.Module:
    torch.manual_seed(3)
    ann = build_ann(config, classes=3)
    ann.train()(torch.randn(4, 1, 28, 28))
    return ann


def stored(path: Path, config: ExperimentConfig = CONFIG) -> Path:
    return save_ann(path, trained(config), config, classes=CLASSES, figures={"accuracy": 0.5})


@pytest.mark.parametrize(
    "changes",
    [{}, {"levels": None}, {"per_channel": True}, {"relu": True}],
    ids=lambda changes: next(iter(changes), "default"),
)
def test_what_is_stored_comes_back(tmp_path: Path, changes: dict[str, object]) -> None:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    ann = trained(config).eval()
    back = load_ann(save_ann(tmp_path / "a.safetensors", ann, config, classes=CLASSES))
    assert (back.config, back.classes, back.figures) == (config, CLASSES, {})
    assert not back.ann.training
    assert any(isinstance(m, ThresholdClip) for m in back.ann.modules()) is not config.relu
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(back.ann(x), ann(x))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*a\.safetensors"):
        load_ann(tmp_path / "a.safetensors")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors is damaged, or not a safetensors file"
    ):
        load_ann(path)


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"was not written by save_ann: its format is None"):
        load_ann(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", "2", "has format version 2; this release reads 1. Update snntorch-ecl"),
        ("config", '{"model": "vgg16"}', "does not fit its own settings"),
        ("config", '{"depth": 3}', "does not fit its own settings: .*unknown settings: depth"),
        ("config", "{", "is damaged: its config"),
        ("classes", '["a"]', "does not fit its own settings"),
    ],
)
def test_metadata_that_does_not_fit_is_named(
    tmp_path: Path, key: str, value: str, message: str
) -> None:
    from safetensors import safe_open

    path = stored(tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {**metadata, key: value})
    with pytest.raises(CheckpointError, match=message):
        load_ann(path)


def test_a_place_that_takes_no_file_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match=r"a\.safetensors cannot be written"):
        stored(tmp_path / "file" / "a.safetensors")
    assert (tmp_path / "file").read_text() == "mine"


# -------------------------------------------------------------------------------- starting from


def test_a_relu_network_gives_its_weights_and_leaves_thresholds_unset(tmp_path: Path) -> None:
    source = replace(CONFIG, relu=True)
    path = stored(tmp_path / "a.safetensors", source)
    ann = build_ann(CONFIG, classes=3)
    start_from(ann, path)
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(ann.eval()(x), load_ann(path).ann(x))  # an unset clip is a ReLU


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_prepared_network_gives_its_thresholds_too(tmp_path: Path, per_channel: bool) -> None:
    config = replace(CONFIG, per_channel=per_channel)
    path = stored(tmp_path / "a.safetensors", config)
    ann = build_ann(config, classes=3)
    start_from(ann, path)
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(ann.eval()(x), load_ann(path).ann(x))


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"model": "resnet20"}, 3, r"another network \(digit_net, 3 classes\): .*in the file"),
        ({}, 5, r"another network .*fc\.bias \(\[3\] in the file, \[5\] here\)"),
        (
            {"per_channel": True},
            3,
            r"per_channel=False, .* at stage1\.\d+; .*per_channel=True",
        ),
    ],
)
def test_another_network_is_refused_and_nothing_changes(
    tmp_path: Path, changes: dict[str, object], classes: int, message: str
) -> None:
    path = stored(tmp_path / "a.safetensors")
    ann = build_ann(replace(CONFIG, **changes), classes=classes)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in ann.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        start_from(ann, path)
    for name, value in ann.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("levels", [2, {"stage2.*": 8, "*": 2}])
def test_a_network_of_other_levels_gives_its_thresholds_too(tmp_path: Path, levels: Any) -> None:
    """λ is the top of a clip, however many levels lie below it."""
    path = stored(tmp_path / "a.safetensors")
    ann = build_ann(replace(CONFIG, levels=levels), classes=3)
    start_from(ann, path)
    theirs = clips_of(load_ann(path).ann)
    ann.eval()
    for name, clip in clips_of(ann).items():
        top = theirs[name].threshold
        assert torch.equal(clip.threshold, top)
        assert clip.levels == (8 if isinstance(levels, dict) and "stage2" in name else 2)
        steps = clip(torch.linspace(-1, 2, 301) * top).unique()
        torch.testing.assert_close(steps, torch.arange(clip.levels + 1) * top / clip.levels)


def test_weights_may_be_those_of_a_network_that_ships() -> None:
    config = ExperimentConfig(model="digit_net", levels=4, weights="digitnet-digits-l4")
    ann = initial_ann(config, classes=10)
    shipped = load_pretrained("digitnet-digits-l4").ann.state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in ann.state_dict().items())
    with pytest.raises(CheckpointError, match=r"no file lenet, and the package ships no such .*l4"):
        initial_ann(replace(config, weights="lenet"), classes=10)
