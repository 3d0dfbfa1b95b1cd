"""The README's code runs as it is pasted, and its commands are the ones that are tested."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from typer.main import get_command

from snntorch_ecl.cli import app
from snntorch_ecl.models import pretrained_names, pretrained_snn_names
from tests.helpers.pages import REPOSITORY, ROOT, anchors, blocks, commands, links, prose

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks(README, "python")
RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com")


def test_blocks_run_one_after_the_other_as_pasted() -> None:
    assert len(BLOCKS) == 2
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for number, code in enumerate(BLOCKS):
            exec(compile(code, f"README.md, block {number + 1}", "exec"), names)
    assert names["logits"].shape == (2, 10)


def test_first_block_is_short_enough_to_paste() -> None:
    code = [line for line in BLOCKS[0].splitlines() if line and not line.startswith("import")]
    assert len(code) <= 5


def test_it_is_read_in_two_minutes() -> None:
    assert len(README.splitlines()) <= 180


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


def test_its_links_work_wherever_it_is_shown() -> None:
    assert [link for link in links(README) if not link.startswith("https://")] == []


def test_every_file_of_the_repository_that_it_links_exists() -> None:
    own = [link for link in links(README) if link.startswith((f"{REPOSITORY}/", f"{RAW}/"))]
    assert own
    for link in own:
        kind = r"(?:/blob|/tree)?/main/([^#]+)(?:#(.+))?"
        found = re.fullmatch(rf"(?:{REPOSITORY}|{RAW}){kind}", link)
        assert found, link
        file = ROOT / found[1]
        assert file.exists(), link
        assert not found[2] or found[2] in anchors(file.read_text(encoding="utf-8"))


def test_it_is_cloned_from_where_the_project_says_it_is() -> None:
    assert f"git clone {REPOSITORY}.git" in README
    assert f"url = {REPOSITORY}\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def test_its_picture_has_an_alternative_text() -> None:
    assert [len(alt) > 100 for alt in re.findall(r"!\[([^\]]*)\]", prose(README))] == [True]


def test_every_public_name_it_mentions_exists() -> None:
    import snntorch_ecl

    mentioned = set(re.findall(r"(?<!-)\becl\.(\w+)", README))  # not snntorch-ecl.git
    assert mentioned
    assert [name for name in sorted(mentioned) if not hasattr(snntorch_ecl, name)] == []


def test_every_flag_of_the_commands_it_shows_exists() -> None:
    shown = [*commands(README)]
    assert ["demo"] in shown
    for name, *words in shown:
        parameters = get_command(app).commands[name].params  # type: ignore[attr-defined]
        flags = {flag for parameter in parameters for flag in parameter.opts}
        assert {word for word in words if re.match(r"--?[a-zA-Z]", word)} <= flags


def test_the_network_that_a_command_names_ships() -> None:
    named = re.findall(r"--pretrained (\S+)", README)
    assert named
    assert set(named) <= {*pretrained_names(), *pretrained_snn_names()}
