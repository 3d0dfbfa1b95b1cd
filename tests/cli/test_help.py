"""The help of every command: short, complete and true."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

import snntorch_ecl
from snntorch_ecl.cli import _commands as commands
from snntorch_ecl.cli import _commands_convert as commands_convert
from snntorch_ecl.cli import _commands_cost as commands_cost
from snntorch_ecl.cli._app import app
from snntorch_ecl.experiments import (
    NEURONS,
    BenchConfig,
    ConversionConfig,
    EnergyConfig,
    ExitConfig,
    MeasureConfig,
    SweepConfig,
    TuneConfig,
    recipe_names,
)
from snntorch_ecl.models import pretrained_names, pretrained_snn_names

COMMANDS = [
    "demo",
    *(
        name.replace("_", "-")
        for module in (commands_convert, commands, commands_cost)
        for name in module.__all__
    ),
]


def invoke(*arguments: str, width: int = 200) -> Any:
    environment = {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, arguments, env=environment)


# ------------------------------------------------------------------------------------- help


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"snntorch-ecl {snntorch_ecl.__version__}\n")


def test_help_lists_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"^\W*{name} +\w", result.stdout, re.MULTILINE), name


def test_no_arguments_show_the_help() -> None:
    result = invoke()
    # Some pairs of typer and click add a line on how to get the help that stands above it.
    assert result.output.strip().startswith(invoke("--help").output.strip())
    assert result.exit_code in (0, 2)  # click changed its mind in 8.2


@pytest.mark.parametrize(
    "command",
    ["", *COMMANDS],
)
def test_help_fits_a_screen_and_has_an_example(command: str) -> None:
    lines = invoke(*command.split(), "--help", width=80).stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert f"snntorch-ecl {command or 'demo'}" in "".join(lines[-2:])


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("train", recipe_names()),
        ("sweep", recipe_names()),
        ("evaluate", (*pretrained_names(), *pretrained_snn_names())),
        ("ablate", NEURONS),
        ("bench", ("digit_net", "resnet18", "resnet20", "resnet34", "vgg16")),
    ],
)
def test_help_names_what_can_be_chosen(command: str, names: tuple[str, ...]) -> None:
    text = " ".join(invoke(command, "--help").stdout.split())
    assert [name for name in names if name not in text] == []


def test_what_help_calls_a_default_is_the_default() -> None:
    tune, sweep = TuneConfig(measure=MeasureConfig(checkpoint="a")), SweepConfig()
    conversion = ConversionConfig(model="a:b", images="c")
    for command, default in (
        ("convert", conversion.num_steps),
        ("convert", conversion.budget),
        ("convert", conversion.spike_sizes),
        ("convert", conversion.image_size),
        ("convert", ",".join(map(str, conversion.mean))),
        ("convert", ",".join(map(str, conversion.std))),
        ("convert", conversion.calibration),
        ("convert", conversion.batch_size),
        ("convert", conversion.seed),
        ("finetune", tune.num_steps),
        ("finetune", tune.distillation),
        ("finetune", tune.surrogate),
        ("energy", EnergyConfig(checkpoint="a").steps[0]),
        ("early-exit", ExitConfig(checkpoint="a").steps[0]),
        ("early-exit", ExitConfig(checkpoint="a").min_steps),
        ("sweep", sweep.seeds),
        ("bench", BenchConfig().repeats),
        ("bench", ", ".join(BenchConfig().models)),
        ("bench", ", ".join(map(str, BenchConfig().steps))),
        ("bench", ", ".join(map(str, BenchConfig().batch_sizes))),
    ):
        assert f"[default: {default}]" in " ".join(invoke(command, "--help").stdout.split())
    assert MeasureConfig(checkpoint="a").steps == sweep.steps == (1, 2, 4, 8, 16, 32)
    assert sweep.levels == (2, 4, 8, 16, 32)


def test_the_demos_help_names_every_option_and_default() -> None:
    text = " ".join(invoke("demo", "--help").stdout.split())
    for option in ("--output-dir", "--levels", "--seed", "--quick", "--json"):
        assert option in text
    assert "[default: snntorch-ecl-demo]" in text
    assert "[default: 8]" in text
