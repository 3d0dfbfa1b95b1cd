"""Commands that a signal ends: one line, and the exit status of the signal."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from snntorch_ecl.cli import _commands as commands
from snntorch_ecl.cli._console import errors_as_text
from snntorch_ecl.errors import DataError
from tests.cli.test_cli import invoke

FOLDER = "a folder"


def ended(
    monkeypatch: pytest.MonkeyPatch, number: int, command: str, *options: str, leaves: str = ""
) -> Any:
    """A command that leaves a file and is then ended."""

    def run(config: Any, output_dir: Path, **_: Any) -> None:
        if leaves:
            output_dir.mkdir()
            (output_dir / leaves).touch()
        signal.raise_signal(number)

    names = {"train": "run_training", "sweep": "run_sweep", "evaluate": "run_evaluation"}
    monkeypatch.setattr(commands, names[command], run)
    arguments = (command, *options, "--output-dir", FOLDER)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/snntorch-ecl", *arguments])
    before = signal.getsignal(signal.SIGTERM)
    result = invoke(*arguments, width=40)
    assert signal.getsignal(signal.SIGTERM) is before
    return result


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("given", [(), ("--resume",)])
def test_a_training_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, status: int, given: tuple[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ended(monkeypatch, number, "train", *given, leaves="last.ckpt")
    assert result.exit_code == status
    (line,) = result.stderr.splitlines()
    name = signal.Signals(number).name
    assert line.startswith(f"Stopped by {name}. Resume with: snntorch-ecl train ")
    words = shlex.split(line.partition("with: ")[2])
    assert words[words.index("--output-dir") + 1] == FOLDER
    assert words.count("--resume") == 1


def test_a_sweep_goes_on_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ended(monkeypatch, signal.SIGTERM, "sweep", "-L", "2", leaves="sweep.json")
    assert result.stderr == (
        f"Stopped by SIGTERM. Resume with: snntorch-ecl sweep -L 2 --output-dir '{FOLDER}'\n"
    )


@pytest.mark.parametrize("command", ["train", "sweep", "evaluate"])
def test_what_has_nothing_to_resume_starts_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--pretrained", "digitnet-digits-l4") if command == "evaluate" else ()
    result = ended(monkeypatch, signal.SIGTERM, command, *options)
    assert result.exit_code == 143
    assert f"Nothing is finished; start again with: snntorch-ecl {command} " in result.stderr


def test_only_the_first_of_several_processes_speaks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    result = ended(monkeypatch, signal.SIGTERM, "train")
    assert (result.exit_code, result.stderr) == (143, "")


def test_names_that_are_no_text_do_not_hide_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_as_text():
        raise DataError("a\udcff.png is not a readable image")
    assert r"Error: a\udcff.png is not a readable image" in capsys.readouterr().err
