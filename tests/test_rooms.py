"""The house keeps its order where the import contract (``lint-imports``) does not look."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "snntorch_ecl"
FILES = sorted(PACKAGE.rglob("*.py"))

# Modules of ours that wait until they are needed, and the heavy package that they bring.
LAZY = {"training/_lightning.py": "lightning", "_util/_picture.py": "matplotlib"}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


each_file = pytest.mark.parametrize("path", FILES, ids=name)


def imported(node: ast.Import | ast.ImportFrom, importer: Path) -> list[str]:
    """The files of ours that an import loads; those of others by their dotted names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not node.level:
        return [node.module or ""]
    folder = importer.parents[node.level - 1].joinpath(*(node.module or "").split("."))
    if folder.with_suffix(".py").is_file():
        return [name(folder.with_suffix(".py"))]
    members = [folder / f"{alias.name}.py" for alias in node.names]
    return [name(m if m.is_file() else folder / "__init__.py") for m in members]


def imports_inside_functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = [
        n for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    return [target for node in inner for target in imported(node, path)]


@each_file
def test_no_file_is_longer_than_a_reader_can_hold(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 300


@each_file
def test_only_what_is_heavy_is_imported_late(path: Path) -> None:
    assert [target for target in imports_inside_functions(path) if target not in LAZY] == []


@pytest.mark.parametrize(("module", "package"), LAZY.items(), ids=LAZY)
def test_what_is_imported_late_is_heavy(module: str, package: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    tops = [n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)]
    tops += [alias.name for n in tree.body if isinstance(n, ast.Import) for alias in n.names]
    assert package in {top.partition(".")[0] for top in tops}


@each_file
def test_private_names_of_torch_stand_in_one_file(path: Path) -> None:
    if path.name == "torch_internals.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    private = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and ast.unparse(node).startswith("torch.")
    ]
    private += [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level and "torch" in (node.module or "")
        and any(part.startswith("_") for part in f"{node.module}.{node.names[0].name}".split("."))
    ]  # fmt: skip
    assert private == []
