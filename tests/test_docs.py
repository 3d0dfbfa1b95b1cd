"""The site: its code runs, its links lead somewhere, and the reference has every public name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from typer.main import get_command

import snntorch_ecl as ecl
from snntorch_ecl.cli import app
from snntorch_ecl.experiments import recipe_names
from tests.helpers.pages import ROOT, anchors, blocks, commands, links, prose
from tests.test_package import ROOMS

DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS).with_suffix("")): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
}
# The front page shows the README's first lines, which the README's test runs.
WITH_CODE = [name for name, text in PAGES.items() if blocks(text, "python") and name != "index"]
TREES = {name: blocks(text, r"\{toctree\}") for name, text in PAGES.items()}


def yours() -> dict[str, Any]:
    """What the pages call by name and leave to the reader: a network and data."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    ).eval()  # fmt: skip
    images, labels = torch.rand(8, 3, 12, 12), torch.randint(0, 10, (8,))
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    return {"model": model, "images": images, "unlabelled": [images], "loader": loader}


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_registry: None
) -> None:
    monkeypatch.chdir(tmp_path)
    names = yours()
    for number, code in enumerate(blocks(PAGES[page], "python")):
        exec(compile(code, f"docs/{page}.md, block {number + 1}", "exec"), names)


def test_the_pages_about_networks_and_data_have_code() -> None:
    assert {"quickstart", "howto/pretrained", "howto/training"} <= set(WITH_CODE)


def test_the_front_page_shows_the_readmes_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert blocks(PAGES["index"], "python") == blocks(readme, "python")[:1]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_site_leads_somewhere(page: str) -> None:
    for link in links(PAGES[page]):
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = (DOCS / f"{page}.md").parent / file if file else DOCS / f"{page}.md"
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_in_one_table_of_contents_and_no_other_is() -> None:
    listed = [
        str(Path(name).parent / line.strip())
        for name, trees in TREES.items()
        for tree in trees
        for line in tree.splitlines()
        if line.strip() and not line.startswith((":", "[0-9]"))
    ]
    assert sorted([*listed, "index"]) == sorted(PAGES)


DESCRIBED = [
    name
    for page, text in PAGES.items()
    if page.startswith("api/")
    for name in re.findall(r"^\.\. (?:auto|py:)\w+:: (snntorch_ecl\.\S+)$", text, re.MULTILINE)
]


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_describes_every_public_name(room: str) -> None:
    module = importlib.import_module(room if room == "snntorch_ecl" else f"snntorch_ecl.{room}")
    things = [pkgutil.resolve_name(name) for name in DESCRIBED]
    for name in set(ROOMS[room]) - {"__version__"}:
        thing = getattr(module, name)
        described = any(thing is other for other in things)
        assert described or inspect.ismodule(thing), f"{name} of {room} is in no page of docs/api"


def test_the_reference_describes_no_name_twice() -> None:
    assert sorted(set(DESCRIBED)) == sorted(DESCRIBED)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_page_in_the_reference(room: str) -> None:
    title = room if room == "snntorch_ecl" else f"snntorch_ecl.{room}"
    page = PAGES["api/top" if room == "snntorch_ecl" else f"api/{room}"]
    assert page.startswith(f"# {title}\n")


@pytest.mark.parametrize("page", PAGES)
def test_every_name_a_page_mentions_exists(page: str) -> None:
    text = PAGES[page]
    names = re.findall(r"\b(?:ecl|snntorch_ecl)\.([A-Za-z]\w*)(?:\.([A-Za-z]\w*))?", text)
    for first, second in names:
        if first == "git":  # of the address to clone
            continue
        if first in ROOMS:
            room = importlib.import_module(f"snntorch_ecl.{first}")
            assert not second or hasattr(room, second), f"{first}.{second}"
        else:
            assert hasattr(ecl, first), first


@pytest.mark.parametrize("page", [name for name in PAGES if [*commands(PAGES[name])]])
def test_every_command_and_flag_of_a_page_exists(page: str) -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    for name, *words in commands(PAGES[page]):
        if name.startswith("--"):
            continue
        flags = {flag for parameter in known[name].params for flag in parameter.opts}
        used = {word for word in words if re.match(r"--?[a-zA-Z]", word)}
        assert used <= flags, f"{name}: {used - flags}"
        recipe = words[words.index("--recipe") + 1] if "--recipe" in words else "digits"
        assert recipe in recipe_names()


def test_the_page_of_commands_shows_all_of_them() -> None:
    shown = {words[0] for words in commands(PAGES["howto/commands"])}
    assert shown | {"demo"} == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES)
def test_pictures_have_alternative_texts(page: str) -> None:
    assert [alt for alt in re.findall(r"!\[([^\]]*)\]", prose(PAGES[page])) if len(alt) < 20] == []
