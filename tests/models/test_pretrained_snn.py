"""The fine-tuned networks that the package ships: small, whole, and what they say they are."""

import os
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import snntorch_ecl as ecl
from snntorch_ecl.errors import CheckpointError, ConfigError
from snntorch_ecl.experiments import MeasureConfig, digits, run_evaluation
from snntorch_ecl.models._pretrained import (
    PretrainedSNN,
    pretrained_snn_names,
)
from snntorch_ecl.network._files import read_figures
from tests.helpers.patterns import agreement_on_patterns

CIFAR = os.environ.get("SNNTORCH_ECL_CIFAR10")


@pytest.fixture(scope="module", params=pretrained_snn_names())
def shipped(request: pytest.FixtureRequest) -> PretrainedSNN:
    return ecl.models.load_pretrained_snn(request.param)


def file(name: str, folder: str = "models/pretrained/spiking") -> Path:
    return Path(str(resources.files("snntorch_ecl").joinpath(f"{folder}/{name}.safetensors")))


def test_the_networks_that_are_promised_are_there() -> None:
    assert {"digitnet-digits-l4-t2", "resnet20-cifar10-l4-t2"} <= set(pretrained_snn_names())


@pytest.mark.parametrize("name", pretrained_snn_names())
def test_each_is_small_and_knows_no_folder_of_a_machine(name: str) -> None:
    assert file(name).stat().st_size <= 2_000_000
    header = file(name).read_bytes()[:20_000]
    assert b'"/' not in header.replace(b'\\"', b'"')


def test_its_metadata_says_what_it_is(shipped: PretrainedSNN) -> None:
    figures = shipped.figures
    assert figures["data"] == shipped.source.figures["data"]
    assert figures["ann_accuracy"] == pytest.approx(
        shipped.source.figures["ann_accuracy"], abs=1e-3
    )
    # The reason to ship it: at the T it was tuned at it beats the network that it was tuned from.
    t = str(figures["num_steps"])
    assert figures["accuracy"][t] > shipped.source.figures["accuracy"][t] + 0.05


def test_it_has_the_thresholds_of_its_ann_and_other_weights(shipped: PretrainedSNN) -> None:
    untuned = ecl.convert(shipped.source.ann).state_dict()
    tuned = shipped.snn.state_dict()
    assert untuned.keys() == tuned.keys()
    for name, value in tuned.items():
        if name.endswith(".threshold"):
            assert torch.equal(value, untuned[name]), name
        elif name.endswith(".weight"):
            assert not torch.equal(value, untuned[name]), name


@pytest.mark.parametrize("steps", [(1, 2), pytest.param((1, 2, 4, 8), marks=pytest.mark.slow)])
def test_the_stated_agreement_is_measured_again(
    shipped: PretrainedSNN, steps: tuple[int, ...]
) -> None:
    stated = shipped.figures["agreement_on_patterns"]
    expected = {str(t): stated[str(t)] for t in steps}
    # Another processor may round a sum elsewhere: two of 200 images may fall to another class.
    found = agreement_on_patterns(shipped.source, shipped.snn, steps=steps)
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_the_stated_accuracy_on_digits_is_measured_again() -> None:
    shipped = ecl.models.load_pretrained_snn("digitnet-digits-l4-t2")
    test = digits(seed=shipped.source.config.data.seed).test
    result = ecl.evaluate(shipped.snn, DataLoader(test, 50), num_steps=4, progress=False)
    assert result.samples == shipped.figures["images"] == 1000
    for t in (1, 2, 3, 4):
        assert result.accuracy[t - 1] == pytest.approx(
            shipped.figures["accuracy"][str(t)], abs=0.004
        )


@pytest.mark.skipif(CIFAR is None, reason="SNNTORCH_ECL_CIFAR10 names no folder of images")
@pytest.mark.parametrize("name", ["resnet20-cifar10-l4-t1", "resnet20-cifar10-l4-t2"])
def test_the_stated_accuracy_on_cifar_is_measured_again(tmp_path: Path, name: str) -> None:
    shipped = ecl.models.load_pretrained_snn(name)
    shipped.snn.save(tmp_path / "snn.safetensors")
    config = MeasureConfig(
        checkpoint=str(file("resnet20-cifar10-l4", "models/pretrained")),
        tuned=str(tmp_path),
        data_root=CIFAR,
        steps=(1, 2, 4),
    )
    result = run_evaluation(config, tmp_path, progress=False)
    assert result.samples == 9_979
    for t in (1, 2, 4):
        assert result.accuracy[t - 1] == pytest.approx(
            shipped.figures["accuracy"][str(t)], abs=0.001
        )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"no pretrained network 'lenet'; .*resnet20-cifar10-l4-t2"
    ):
        ecl.models.load_pretrained_snn("lenet")


def test_figures_that_are_damaged_are_refused(tmp_path: Path) -> None:
    snn = ecl.models.load_pretrained_snn("digitnet-digits-l4-t2").snn
    plain = snn.save(tmp_path / "a.safetensors")
    assert read_figures(plain) == {}
    content = plain.read_bytes()
    assert content.count(b'"figures":"{}"') == 1
    plain.write_bytes(content.replace(b'"figures":"{}"', b'"figures":"{]"'))
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged: its figures"):
        read_figures(plain)
    with pytest.raises(CheckpointError, match="there is no file"):
        read_figures(tmp_path / "none")
