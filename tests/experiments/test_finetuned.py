"""What a fine-tuning leaves: to start another one from, and to measure."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import snntorch_ecl as ecl
from snntorch_ecl._util.processes import Place
from snntorch_ecl.errors import CheckpointError
from snntorch_ecl.experiments import (
    MeasureConfig,
    TuneConfig,
    load_tuned,
    run_evaluation,
    run_tuning,
)
from snntorch_ecl.experiments._finetuned import start_from_run
from snntorch_ecl.experiments._measure import open_checkpoint
from snntorch_ecl.models import load_ann
from snntorch_ecl.settings import TrainConfig, load_config
from snntorch_ecl.training import measure_norms

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture
def trained(whole: Path) -> Path:
    """Folder of a trained ANN."""
    return whole


def config(trained: Path, num_steps: int) -> TuneConfig:
    return TuneConfig(
        measure=MeasureConfig(checkpoint=str(trained / "ann.safetensors"), steps=(1, 2)),
        num_steps=num_steps,
        train=TrainConfig(epochs=1, lr=0.02, batch_size=8),
    )


@pytest.fixture(scope="module")
def tuned(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of its fine-tuning at T = 2."""
    folder = tmp_path_factory.mktemp("tuned")
    run_tuning(config(whole, 2), folder, progress=False)
    return folder


def unfolded(trained: Path) -> ecl.SpikingNetwork:
    return ecl.convert(load_ann(trained / "ann.safetensors").ann, fold_batchnorms=False)


def weights(folder: Path, trained: Path) -> dict[str, torch.Tensor]:
    ann = load_ann(trained / "ann.safetensors").ann
    return ecl.load(folder / "snn.safetensors", ann).state_dict()


def test_it_starts_with_the_network_that_the_other_run_saved(trained: Path, tuned: Path) -> None:
    """The end of that run done again: norms measured and folded, the very network it saved."""
    snn = unfolded(trained)
    before = snn.state_dict()["net.fc.weight"].clone()
    start_from_run(snn, tuned)
    assert not torch.equal(snn.state_dict()["net.fc.weight"], before)
    settings = config(trained, 2)
    opened = open_checkpoint(settings.measure, Place(0, 1))
    learner = torch.nn.Module()
    learner.snn = snn
    learner.forward = lambda images: snn(images, num_steps=2)  # type: ignore[method-assign]
    measure_norms(learner, opened.train, seed=settings.train.seed, progress=False)
    snn.fold_batchnorms()
    saved = weights(tuned, trained)
    assert snn.state_dict().keys() == saved.keys()
    for name, value in snn.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_it_ends_elsewhere_than_from_the_ann_and_says_where_it_began(
    trained: Path, tuned: Path, tmp_path: Path
) -> None:
    settings = replace(config(trained, 1), start=str(tuned))
    run_tuning(settings, tmp_path / "on", progress=False)
    run_tuning(config(trained, 1), tmp_path / "ann", progress=False)
    on, ann = weights(tmp_path / "on", trained), weights(tmp_path / "ann", trained)
    assert not torch.equal(on["net.fc.weight"], ann["net.fc.weight"])
    assert load_config(TuneConfig, tmp_path / "on" / "tuning.json") == settings


def test_a_run_that_goes_on_needs_its_start_no_more(
    trained: Path, tuned: Path, tmp_path: Path
) -> None:
    start = shutil.copytree(tuned, tmp_path / "start")
    settings = replace(config(trained, 1), start=str(start))
    run_tuning(settings, tmp_path / "run", progress=False)
    before = weights(tmp_path / "run", trained)
    shutil.rmtree(start)
    run_tuning(settings, tmp_path / "run", resume=True, progress=False)
    for name, value in weights(tmp_path / "run", trained).items():
        assert torch.equal(value, before[name]), name


def assert_refused(snn: ecl.SpikingNetwork, folder: Path, message: str) -> None:
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        start_from_run(snn, folder)
    for name, value in snn.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_is_no_fine_tuning_is_refused(trained: Path, tuned: Path, tmp_path: Path) -> None:
    snn = unfolded(trained)
    assert_refused(
        snn, tmp_path / "none", r"there is no .*none/last\.ckpt to start from; name the outp"
    )
    assert_refused(snn, tuned / "snn.safetensors", r"there is no .*snn\.safetensors/last\.ckpt")
    assert_refused(snn, trained, r"last\.ckpt is no checkpoint of a fine-tuning")
    for content in (b"", b"no archive", (tuned / "last.ckpt").read_bytes()[:5000]):
        (tmp_path / "last.ckpt").write_bytes(content)
        assert_refused(snn, tmp_path, r"last\.ckpt is damaged or no checkpoint")
    for other in ([1], {"state_dict": 3}, {}, {"state_dict": {"model.snn.net.fc.bias": 3}}):
        torch.save(other, tmp_path / "last.ckpt")
        assert_refused(snn, tmp_path, r"last\.ckpt is (damaged or )?no checkpoint")


def with_more_classes(trained: Path) -> torch.nn.Module:
    ann = load_ann(trained / "ann.safetensors").ann
    ann.fc = torch.nn.Linear(ann.fc.in_features, 10)  # type: ignore[union-attr, arg-type]
    return ann


def test_a_fine_tuning_of_another_ann_is_refused(trained: Path, tuned: Path) -> None:
    other = ecl.convert(with_more_classes(trained), fold_batchnorms=False)
    assert_refused(other, tuned, r"another ANN: net\.fc\.bias \(\[2\] in the file, \[10\] here\)")
    sibling = unfolded(trained)
    with torch.no_grad():
        next(iter(sibling.neurons.values())).threshold.mul_(1.01)
    assert_refused(sibling, tuned, r"belongs to another ANN: net\.relu\.threshold is not the same")


def test_a_start_that_is_not_there_ends_the_run_before_it_begins(
    trained: Path, tmp_path: Path
) -> None:
    settings = replace(config(trained, 1), start=str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="to start from; name the output folder"):
        run_tuning(settings, tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").glob("*.ckpt"))


def test_what_a_fine_tuning_left_is_measured_as_it_was(
    trained: Path, tuned: Path, tmp_path: Path
) -> None:
    settings = replace(config(trained, 2).measure, tuned=str(tuned))
    found = run_evaluation(settings, tmp_path, progress=False)
    expected = json.loads((tuned / "tuning.json").read_text())["figures"]
    assert json.loads(json.dumps(found.to_dict())) == expected
    snn = load_tuned(tuned, load_ann(trained / "ann.safetensors").ann)
    assert torch.equal(snn.state_dict()["net.fc.weight"], weights(tuned, trained)["net.fc.weight"])


def test_what_was_not_tuned_from_a_network_is_not_measured_for_it(
    trained: Path, tuned: Path, tmp_path: Path
) -> None:
    ann = load_ann(trained / "ann.safetensors").ann
    with pytest.raises(CheckpointError, match=r"there is no .*/snn\.safetensors; name the output"):
        load_tuned(trained, ann)
    with pytest.raises(CheckpointError, match=r"snn\.safetensors does not fit ResNet: .* net\.fc"):
        load_tuned(tuned, with_more_classes(trained))
    (tmp_path / "snn.safetensors").write_bytes((tuned / "snn.safetensors").read_bytes()[:900])
    with pytest.raises(CheckpointError, match=r"snn\.safetensors is damaged"):
        load_tuned(tmp_path, ann)
    with torch.no_grad():
        next(m for m in ann.modules() if isinstance(m, ecl.ThresholdClip)).raw_threshold.add_(1e-3)
    with pytest.raises(CheckpointError, match=r"was tuned from another ANN: net\.relu\.thr"):
        load_tuned(tuned, ann)
