"""Evaluation and ablation of a checkpoint."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from snntorch_ecl import convert
from snntorch_ecl._util.processes import Place
from snntorch_ecl.errors import CheckpointError, ConfigError, DataError
from snntorch_ecl.experiments import (
    AblateConfig,
    MeasureConfig,
    run_ablation,
    run_evaluation,
)
from snntorch_ecl.experiments._measure import open_checkpoint
from snntorch_ecl.models import load_ann, save_ann
from snntorch_ecl.models._checkpoint import build_ann
from snntorch_ecl.settings import load_config

from ..helpers.runs import CLASSES, experiment, image_folder

ALONE = Place(0, 1)
pytestmark = pytest.mark.usefixtures("quick_pictures")


def config(checkpoint: Path, kind: type[Any] = MeasureConfig, **changes: Any) -> Any:
    return kind(**{"checkpoint": str(checkpoint), "steps": (1, 2, 4), **changes})


def by_hand(checkpoint: Path, images: int, *, num_steps: int) -> list[float]:
    """Accuracy at each t, image by image."""
    ann = load_ann(checkpoint).ann
    snn, test = convert(ann), open_checkpoint(config(checkpoint), ALONE).test
    indices = [i * len(test) // images for i in range(images)]  # type: ignore[arg-type]
    right = torch.zeros(num_steps)
    for index in indices:
        image, label = test[index]
        with torch.no_grad():
            logits = snn.logits_over_time(image[None], num_steps=num_steps)
        snn.reset()
        right += logits.argmax(2)[:, 0] == label
    return (right / images).tolist()


@pytest.mark.parametrize("images", [0, 5])
def test_the_accuracy_is_that_of_each_image_alone(
    checkpoint: Path, tmp_path: Path, images: int
) -> None:
    result = run_evaluation(config(checkpoint, images=images), tmp_path, progress=False)
    assert result.samples == (images or 18)
    assert list(result.accuracy) == pytest.approx(by_hand(checkpoint, images or 18, num_steps=4))


def test_it_can_be_repeated_from_its_own_json(checkpoint: Path, tmp_path: Path) -> None:
    first = run_evaluation(config(checkpoint), tmp_path / "a", progress=False)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"evaluation.json", "evaluation.svg"}
    again = load_config(MeasureConfig, tmp_path / "a" / "evaluation.json")
    assert again == config(checkpoint)
    assert run_evaluation(again, tmp_path / "b", progress=False) == first
    stored = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    assert stored["figures"]["accuracy"] == list(first.accuracy)
    assert stored["versions"]["torch"] == torch.__version__


def test_the_ablation_compares_six_neurons_on_one_checkpoint(
    checkpoint: Path, tmp_path: Path
) -> None:
    result = run_ablation(config(checkpoint, AblateConfig), tmp_path, progress=False)
    assert set(result.evaluations) == {
        "dual threshold",
        "IF",
        "dual threshold, v(0) = 0",
        "IF, v(0) = 0",
        "dual threshold, θ′ = −θ/2",
        "dual threshold, θ′ = −θ",
    }
    assert len({e.ann_accuracy for e in result.evaluations.values()}) == 1
    dual = run_evaluation(config(checkpoint), tmp_path / "dual", progress=False)
    assert result.evaluations["dual threshold"] == dual
    assert all(layer.negative_rate == 0 for layer in result.evaluations["IF"].layers)
    stored = json.loads((tmp_path / "ablation.json").read_text())
    assert stored["figures"]["IF"]["accuracy"] == list(result.evaluations["IF"].accuracy)
    assert (tmp_path / "ablation.svg").stat().st_size > 1000


def test_an_ablation_can_be_of_some_neurons(checkpoint: Path, tmp_path: Path) -> None:
    some = run_ablation(config(checkpoint, AblateConfig, neurons=("IF",)), tmp_path, progress=False)
    assert list(some.evaluations) == ["IF"]


# --------------------------------------------------------------------------------- wrong inputs


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*none\.safetensors"):
        run_evaluation(config(tmp_path / "none.safetensors"), tmp_path)


def test_data_of_another_number_of_classes_is_refused(
    root: Path, checkpoint: Path, tmp_path: Path
) -> None:
    other = image_folder(tmp_path / "images")
    for split in ("train", "test"):
        (other / split / "green").mkdir()
        Image.new("RGB", (8, 8)).save(other / split / "green" / "0.png")
    with pytest.raises(DataError, match=r"has 2 classes \(blue, red, …\), the data has 3"):
        run_evaluation(config(checkpoint, data_root=str(other)), tmp_path)


def test_data_that_has_moved_is_found_by_its_new_root(checkpoint: Path, tmp_path: Path) -> None:
    other = image_folder(tmp_path / "images")
    moved = run_evaluation(config(checkpoint, data_root=str(other)), tmp_path, progress=False)
    assert moved == run_evaluation(config(checkpoint), tmp_path, progress=False)


def test_data_that_is_gone_is_named(root: Path, tmp_path: Path) -> None:
    settings = experiment(root)
    gone = replace(settings, data=replace(settings.data, root=str(tmp_path / "gone")))
    ann = build_ann(gone, classes=2)
    path = save_ann(tmp_path / "a.safetensors", ann, gone, classes=CLASSES)
    with pytest.raises(DataError, match=r"no folder .*gone/train"):
        run_evaluation(config(path), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ()}, "steps is empty"),
        ({"steps": (1, 0)}, "steps must be an integer >= 1; got 0"),
        ({"steps": (True,)}, "steps must be an integer >= 1; got True"),
        ({"images": -1}, "images must be an integer >= 0; got -1"),
        ({"neurons": ("LIF",)}, r"neurons must be some of 'dual threshold', .*got \['LIF'\]"),
        ({"neurons": ()}, "neurons must be some of"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1; got 0"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(Path("a"), AblateConfig, **changes)
