"""What stands in two places says the same in both: versions, files, dates."""

import configparser
import re
from pathlib import Path, PurePath
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import snntorch_ecl
from snntorch_ecl.graph._registry import LayerKind, add

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "snntorch_ecl"


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(text("setup.cfg"))
    return parser


def workflow(name: str) -> dict[str, Any]:
    found = yaml.safe_load(text(f".github/workflows/{name}.yml"))
    assert isinstance(found, dict)
    return found


def requirements(lines: str, separator: str) -> dict[str, str]:
    """Versions by package, from lines such as ``torch>=2.6``."""
    found = [line.split("#")[0].strip().partition(separator) for line in lines.splitlines()]
    return {name: version for name, given, version in found if given}


def taken(path: str, pattern: str) -> bool:
    return PurePath(path).match(pattern) and path.count("/") == pattern.count("/")


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


EXTRAS = setup()["options.extras_require"]
TOOLS = requirements(text(".ci/constraints.txt"), "==")


def test_each_tool_for_tests_and_docs_has_one_exact_version() -> None:
    asked = requirements(EXTRAS["test"] + EXTRAS["docs"], ">=")
    assert set(TOOLS) == set(asked)
    assert [tool for tool in asked if number(TOOLS[tool]) < number(asked[tool])] == []


def test_pre_commit_runs_the_versions_of_the_tools_file() -> None:
    repos = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    pinned = {repo["repo"]: repo["rev"] for repo in repos if repo["repo"] != "local"}
    assert pinned == {
        "https://github.com/astral-sh/ruff-pre-commit": f"v{TOOLS['ruff']}",
    }
    own = [hook for repo in repos if repo["repo"] == "local" for hook in repo["hooks"]]
    assert {hook["id"] for hook in own} == {"mypy", "import-linter"}
    assert {hook["language"] for hook in own} == {"system"}  # the environment's, so the same file's


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    users = [text for extra, text in EXTRAS.items() if extra not in ("test", "docs", "all")]
    lines = [setup()["options"]["install_requires"], *users]
    assert requirements(text(".ci/oldest.txt"), "==") == requirements("\n".join(lines), ">=")


def test_continuous_integration_runs_every_python_that_is_declared() -> None:
    declared = re.findall(r"Python :: (3\.\d+)", text("setup.cfg"))
    jobs = workflow("ci")["jobs"]
    assert jobs["check"]["strategy"]["matrix"]["python"] == declared
    assert setup()["options"]["python_requires"] == f">={declared[0]}"
    [oldest] = [s["with"] for s in jobs["oldest"]["steps"] if "python-version" in s.get("with", {})]
    assert oldest["python-version"] == declared[0]


@pytest.mark.parametrize("name", ["ci", "docs", "weekly", "release"])
def test_files_that_a_workflow_names_exist(name: str) -> None:
    files = r"\.ci/[\w.]+|setup\.cfg|snntorch_ecl/[\w/]+\.py"
    named = re.findall(files, text(f".github/workflows/{name}.yml"))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_wheel_takes_every_file_of_the_package() -> None:
    patterns = setup()["options.package_data"]["snntorch_ecl"].split()
    data = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    assert data
    # The star of setuptools does not reach into folders.
    assert [path for path in data if not any(taken(path, p) for p in patterns)] == []


def test_the_changelog_and_the_citation_know_this_version() -> None:
    version = re.escape(snntorch_ecl.__version__)
    released = re.search(rf"^## \[{version}\] - (\d{{4}}-\d\d-\d\d)$", text("CHANGELOG.md"), re.M)
    assert released is not None
    assert f"date-released: {released[1]}\n" in text("CITATION.cff")


def test_the_addresses_of_the_project_are_those_of_one_repository() -> None:
    home = setup()["metadata"]["url"]
    for path in ("setup.cfg", "CHANGELOG.md", "CITATION.cff"):
        found = re.findall(r"https://github\.com/[\w-]*snntorch-ecl/[\w-]+", text(path))
        assert found
        assert set(found) == {home}


def test_every_file_that_the_contributors_guide_names_exists() -> None:
    named = re.findall(r"`([\w./-]+(?:\.\w+|/))`", text("CONTRIBUTING.md"))
    inside = [ROOT, PACKAGE]
    assert len(named) > 30
    assert [path for path in named if not any((place / path).exists() for place in inside)] == []


def test_the_contributors_guide_teaches_layers_that_then_convert(clean_registry: None) -> None:
    torch.manual_seed(0)  # weights under which something fires
    own, shipped = re.findall(r"```python\n(.*?)```", text("CONTRIBUTING.md"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(own, names)
    exec(shipped, {"add": add, "nn": nn, "keep": snntorch_ecl.keep, "LayerKind": LayerKind})
    layers = [nn.Conv2d(1, 2, 3), nn.ReLU(), names["Sums"](), nn.CircularPad2d(1)]
    ann = snntorch_ecl.prepare(nn.Sequential(*layers, nn.Conv2d(2, 2, 3))).train()
    images = torch.rand(4, 1, 6, 6)
    ann(images)
    assert snntorch_ecl.convert(ann)(images, num_steps=2).shape == (4, 2, 4, 4)
