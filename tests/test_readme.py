"""The README's code runs as it is pasted, and its commands are the ones that are tested."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from snntorch_ecl.cli import app
from snntorch_ecl.experiments._recipes import recipe_names
from tests.cli.test_cli import invoke

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_blocks_run_one_after_the_other_as_pasted() -> None:
    assert len(BLOCKS) == 5
    script = "\n".join(BLOCKS) + "\nassert logits.shape == (2, 10) and spikes.shape == (4, 3, 16)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:snntorch_ecl", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_first_block_is_short_enough_to_paste() -> None:
    code = [line for line in BLOCKS[0].splitlines() if line and not line.startswith("import")]
    assert len(code) <= 5


@pytest.mark.parametrize(
    "command",
    [
        'python -m pip install -e ".[demo]" && snntorch-ecl demo',
        'python -m pip install -e ".[test]" && python -m pytest',
    ],
)
def test_ci_runs_the_commands_that_the_readme_gives(command: str) -> None:
    assert f"\n{command}\n" in README
    assert f"\n{command}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_every_public_name_it_mentions_exists() -> None:
    import snntorch_ecl

    mentioned = set(re.findall(r"\becl\.(\w+)", README))
    assert mentioned
    assert [name for name in sorted(mentioned) if not hasattr(snntorch_ecl, name)] == []


def test_every_name_in_a_sub_package_that_it_mentions_exists() -> None:
    dotted = re.findall(r"\b(?:ecl|snntorch_ecl)\.([a-z]\w+)\.(\w+)", README)
    rooms = {room: importlib.import_module(f"snntorch_ecl.{room}") for room, _ in dotted}
    assert rooms
    assert [f"{room}.{name}" for room, name in dotted if not hasattr(rooms[room], name)] == []


def test_every_flag_of_the_commands_it_shows_exists() -> None:
    lines = [line.split("#")[0].split() for line in README.splitlines()]
    commands = [words for words in lines if words[:1] == ["snntorch-ecl"] and len(words) > 1]
    shown = {words[1] for words in commands}
    assert shown | {"demo"} == set(get_command(app).commands)
    for words in commands:
        known = invoke(words[1], "--help").output
        flags = [word for word in words if word.startswith("--")]
        assert flags
        assert [flag for flag in flags if flag not in known] == []


def test_every_recipe_it_shows_exists() -> None:
    shown = set(re.findall(r"--recipe ([\w-]+)", README))
    assert shown
    assert shown <= set(recipe_names())
