"""The networks that the package ships: small, honest, and what they say they are."""

import os
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments import MeasureConfig, digits, run_evaluation
from snntorch_ecl.models import Checkpoint
from snntorch_ecl.models._pretrained import (
    pretrained_names,
)
from tests.helpers.patterns import agreement_on_patterns, patterns

CIFAR = os.environ.get("SNNTORCH_ECL_CIFAR10")


@pytest.fixture(scope="module", params=pretrained_names())
def shipped(request: pytest.FixtureRequest) -> Checkpoint:
    return ecl.models.load_pretrained(request.param)


def file(name: str) -> Path:
    return Path(
        str(resources.files("snntorch_ecl").joinpath(f"models/pretrained/{name}.safetensors"))
    )


def stated(checkpoint: Checkpoint, measured: dict[str, float]) -> dict[str, float]:
    return {t: checkpoint.figures["accuracy"][t] for t in measured}


def test_the_networks_that_are_promised_are_there() -> None:
    assert {"digitnet-digits-l4", "resnet20-cifar10-l4"} <= set(pretrained_names())


@pytest.mark.parametrize("name", pretrained_names())
def test_each_is_small(name: str) -> None:
    assert file(name).stat().st_size <= 2_000_000


@pytest.mark.parametrize("name", pretrained_names())
def test_no_folder_of_a_machine_is_in_it(name: str) -> None:
    header = file(name).read_bytes()[:10_000]
    assert b'"/' not in header.replace(b'\\"', b'"')


def test_its_metadata_says_what_it_is(shipped: Checkpoint) -> None:
    figures = shipped.figures
    assert figures["levels"] == shipped.config.levels
    assert figures["epochs"] == shipped.config.train.epochs
    assert len(figures["data"]) > 10
    assert 0.5 < figures["ann_accuracy"] <= 1
    assert set(figures["accuracy"]) >= {"1", "2", "4", "8"}


@pytest.mark.parametrize("steps", [(1,), pytest.param((1, 2, 4, 8), marks=pytest.mark.slow)])
def test_the_stated_agreement_is_measured_again(
    shipped: Checkpoint, steps: tuple[int, ...]
) -> None:
    stated = shipped.figures["agreement_on_patterns"]
    expected = {str(t): stated[str(t)] for t in steps}
    # Another processor may round a sum elsewhere: two of 200 images may fall to another class.
    assert agreement_on_patterns(shipped, steps=steps) == pytest.approx(expected, abs=0.01)
    with torch.no_grad():
        answers = shipped.ann(patterns(shipped)[:50]).argmax(1)
    assert len(set(answers.tolist())) > 3  # no constant answer


@pytest.mark.slow
def test_the_stated_accuracy_on_digits_is_measured_again() -> None:
    shipped = ecl.models.load_pretrained("digitnet-digits-l4")
    test = digits(seed=shipped.config.data.seed).test
    result = ecl.evaluate(
        ecl.convert(shipped.ann), DataLoader(test, 50), num_steps=4, ann=shipped.ann, progress=False
    )
    assert result.samples == 1000
    assert result.ann_accuracy == pytest.approx(shipped.figures["ann_accuracy"], abs=0.002)
    for t in (1, 2, 4):
        assert result.accuracy[t - 1] == pytest.approx(
            shipped.figures["accuracy"][str(t)], abs=0.004
        )


@pytest.mark.skipif(CIFAR is None, reason="SNNTORCH_ECL_CIFAR10 names no folder of images")
def test_the_stated_accuracy_on_cifar_is_measured_again(tmp_path: Path) -> None:
    shipped = ecl.models.load_pretrained("resnet20-cifar10-l4")
    config = MeasureConfig(
        checkpoint=str(file("resnet20-cifar10-l4")), data_root=CIFAR, steps=(1, 2, 4)
    )
    result = run_evaluation(config, tmp_path, progress=False)
    assert result.samples == 9_979
    assert result.ann_accuracy == pytest.approx(shipped.figures["ann_accuracy"], abs=0.001)
    for t in (1, 2, 4):
        assert result.accuracy[t - 1] == pytest.approx(
            shipped.figures["accuracy"][str(t)], abs=0.001
        )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no pretrained network 'lenet'; .*resnet20-cifar10-l4"):
        ecl.models.load_pretrained("lenet")
