"""The command line, as people and scripts meet it."""

from __future__ import annotations

import configparser
import functools
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from rich.table import Table
from safetensors.torch import load_file
from typer.testing import CliRunner

import snntorch_ecl
from snntorch_ecl.cli import _app
from snntorch_ecl.cli._app import app
from snntorch_ecl.cli._console import errors_as_text
from snntorch_ecl.errors import DataError
from snntorch_ecl.experiments import (
    DemoConfig,
)
from tests.helpers.demo import quick_run

ROOT = Path(snntorch_ecl.__file__).parent.parent


FILES = ("report.html", "figures.json", "network.safetensors")


def invoke(*arguments: str, width: int = 200) -> Any:
    environment = {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, arguments, env=environment)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


# ------------------------------------------------------------------------------------ demo


class Stub:
    """A result without the work."""

    def __init__(self, config: DemoConfig) -> None:
        config.output_dir.mkdir(parents=True, exist_ok=True)
        self.report, self.figures, self.network = (
            config.output_dir / name for name in ("report.html", "figures.json", "net.safetensors")
        )
        self.figures.write_text('{"accuracy": "θ′"}\n', encoding="utf-8")

    def table(self) -> Table:
        return Table("neuron")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[DemoConfig, bool]]:
    """What run_demo was asked for."""
    found: list[tuple[DemoConfig, bool]] = []

    def run_demo(config: DemoConfig, *, progress: bool) -> Stub:
        found.append((config, progress))
        return Stub(config)

    monkeypatch.setattr(_app, "run_demo", run_demo)
    return found


def test_options_reach_the_demo(calls: list[tuple[DemoConfig, bool]], tmp_path: Path) -> None:
    folder = tmp_path / "x"
    options = ["--output-dir", str(folder), "--levels", "2", "--seed", "5", "--quick"]
    assert invoke("demo", *options).exit_code == 0
    assert calls == [(DemoConfig(levels=2, seed=5, quick=True, output_dir=folder), True)]


def test_defaults_are_the_demos_own(
    calls: list[tuple[DemoConfig, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("demo").exit_code == 0
    assert calls == [(DemoConfig(), True)]


def test_the_files_are_named_where_they_lie(
    calls: list[tuple[DemoConfig, bool]], tmp_path: Path
) -> None:
    folder = tmp_path / "a folder whose long name would be wrapped on a narrow screen"
    result = invoke("demo", "--output-dir", str(folder), width=40)
    assert (folder / "report.html").as_uri() in result.stdout
    assert str(folder / "figures.json") in result.stdout
    assert str(folder / "net.safetensors") in result.stdout


def test_json_comes_alone_and_without_progress(
    calls: list[tuple[DemoConfig, bool]], tmp_path: Path
) -> None:
    result = invoke("demo", "--json", "--output-dir", str(tmp_path))
    assert json.loads(result.stdout) == {"accuracy": "θ′"}
    assert [progress for _, progress in calls] == [False]


# ------------------------------------------------- the second run: another process, same seed


@functools.cache
def quick_json(base: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = base / "cli"
    command = ("-m", "snntorch_ecl.cli", "demo", "--quick", "--json", "--output-dir", str(folder))
    return python(*command), folder


@pytest.fixture
def printed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    done, _ = quick_json(tmp_path_factory.getbasetemp())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_demo_prints_json_and_nothing_else(
    printed: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    done, folder = quick_json(tmp_path_factory.getbasetemp())
    assert done.stderr == ""
    assert done.stdout.strip() == (folder / "figures.json").read_text(encoding="utf-8").strip()
    assert {file.name for file in folder.iterdir()} == set(FILES)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["evaluations", "evaluations_at_levels", "training", "command"])
def test_the_same_seed_gives_the_same_figures(
    printed: Mapping[str, Any], key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = json.loads(
        quick_run(tmp_path_factory.getbasetemp()).result.figures.read_text(encoding="utf-8")
    )
    assert printed[key] == first[key]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network(
    printed: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = load_file(quick_run(tmp_path_factory.getbasetemp()).result.network)
    second = load_file(quick_json(tmp_path_factory.getbasetemp())[1] / "network.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


# ----------------------------------------------------------------------------------- errors


def test_bad_levels_are_an_error_for_people(tmp_path: Path) -> None:
    result = invoke("demo", "--levels", "0", "--output-dir", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert "Error: levels must be an integer >= 1" in result.stderr
    assert "got 0" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "x").exists()


def test_a_file_in_place_of_the_folder_is_an_error_for_people(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.touch()
    result = invoke("demo", "--output-dir", str(file), width=1000)
    assert result.exit_code == 1
    assert f"Error: {file} cannot be written to: " in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--levels", "0"), "levels must be an integer >= 1"),
        (("train", "--epochs", "0"), "epochs must be an integer >= 1; got 0"),
        (("train", "--recipe", "lenet"), "no recipe 'lenet'"),
        (("train", "--config", "a.yaml", "--recipe", "digits"), "--config or --recipe, not both"),
        (("evaluate", "--config", "nowhere.yaml"), "nowhere.yaml cannot be read"),
    ],
)
def test_other_commands_speak_alike(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    result = invoke(*arguments, "--output-dir", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("option", "word"), [("--levels", "four"), ("--seed", "1.5"), ("--x", "4")]
)
def test_words_that_are_no_settings_are_refused(option: str, word: str) -> None:
    result = invoke("demo", option, word)
    assert result.exit_code == 2
    assert option in result.stderr
    assert "Traceback" not in result.output


def test_brackets_in_an_error_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, errors_as_text():
        raise DataError('pip install "snntorch-ecl[demo]" [/red]')
    assert caught.value.exit_code == 1
    assert 'Error: pip install "snntorch-ecl[demo]" [/red]' in capsys.readouterr().err


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError), errors_as_text():
        raise ZeroDivisionError


# ---------------------------------------------------------------------------------- package


def test_the_entry_point_leads_to_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = configparser.ConfigParser()
    assert setup.read(ROOT / "setup.cfg")
    script = setup["options.entry_points"]["console_scripts"].strip()
    name, module, thing = re.fullmatch(r"([\w-]+) = ([\w.]+):(\w+)", script).groups()
    assert name == "snntorch-ecl"
    main = getattr(importlib.import_module(module), thing)
    ran: list[str] = []
    monkeypatch.setattr("snntorch_ecl.cli.app", lambda: ran.append("app"))
    monkeypatch.setattr(sys, "argv", ["snntorch-ecl", "demo"])
    main()
    assert ran == ["app"]


def test_the_version_needs_no_torch() -> None:
    show = "import sys, snntorch_ecl_command as c\nsys.argv[1:] = ['--version']\nc.main()\n"
    done = python("-c", f"{show}print('torch' in sys.modules)")
    assert done.stdout.splitlines() == [f"snntorch-ecl {snntorch_ecl.__version__}", "False"]


def test_it_runs_as_a_module_and_loads_nothing_heavy() -> None:
    run = "runpy.run_module('snntorch_ecl.cli', run_name='__main__', alter_sys=True)"
    watch = "atexit.register(lambda: print(*sys.modules))"
    code = f"import atexit, runpy, sys; {watch}; sys.argv = ['x', '--version']; {run}"
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"snntorch-ecl {snntorch_ecl.__version__}"
    heavy = {"lightning", "pytorch_lightning", "matplotlib", "mlxtend", "jinja2", "torchvision"}
    assert not heavy & set(done.stdout.split())
