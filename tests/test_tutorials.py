"""The tutorials run from top to bottom, and are stored as a reader should find them."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from matplotlib import pyplot as plt
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|tmp|var|opt|usr|mnt|work|workspace|private|builds)/"
    r"|\b[A-Za-z]:\\\\?\w"
    r"|site-packages"
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def complaints(notebook: NotebookNode) -> list[str]:
    """Errors and whatever went to stderr."""
    return [
        output.get("text") or f"{output.ename}: {output.evalue}"
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def readable(notebook: NotebookNode) -> str:
    """All text of a notebook; pictures left out, whose base64 may spell anything."""
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in code_cells(notebook):
        for output in cell.outputs:
            for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
                del output.data[kind]
    texts: list[str] = []

    def collect(value: object) -> None:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            for part in value.values():
                collect(part)
        elif isinstance(value, list):
            for part in value:
                collect(part)

    collect(notebook)
    return "\n".join(texts)


def test_there_are_tutorials() -> None:
    assert NOTEBOOKS


# What makes them short enough for every change.
SHORTER = {
    "01_convert_in_five_minutes": {
        "epochs=5": "epochs=1", "[:2000]": "[:320]", "[:500]": "[:100]",
    },
    "03_train_for_few_steps": {
        "epochs=6": "epochs=1", "epochs = 2": "epochs = 1", "range(0, 1000, 2)": "range(100)",
        "digits()": "(Subset(part, range(320)) for part in digits())",
    },
    "04_spikes_over_time": {"range(0, 1000, 5)": "range(71)"},
    "05_a_transformer_that_spikes": {
        "epochs, size = 12, 64": "epochs, size = 1, 20",
        "train.tensors, test.tensors": "train[:500], test[:100]",
    },
}  # fmt: skip
# Pictures of spikes have tests of their own, and so has a transformer that converts.
RARE = {"04_spikes_over_time", "05_a_transformer_that_spikes"}


@pytest.fixture
def run(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[NotebookNode], None]:
    """Run a notebook in a kernel of its own, and see what it leaves."""

    def run(notebook: NotebookNode) -> None:
        for cell in code_cells(notebook):
            cell.outputs = []
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
        assert complaints(notebook) == []
        assert list(tmp_path.iterdir()) == [], "it leaves files behind"

    # The kernel works in another folder, where a relative PYTHONPATH would lead nowhere.
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    # Lightning's progress bars complain where transformers is installed without ipywidgets.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress")
    # A font cache of its own, made beforehand: matplotlib complains of a stale or missing one.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], check=True)
    return run


def shortened(stem: str) -> list[str]:
    """A tutorial's code, cell by cell, for few digits."""
    cells = code_cells(nbformat.read(ROOT / "tutorials" / f"{stem}.ipynb", as_version=4))
    code = [cell.source for cell in cells]
    for long, short in SHORTER[stem].items():
        assert sum(source.count(long) for source in code) == 1, long
        code = [source.replace(long, short) for source in code]
    return code


def run_cell(source: str, names: dict[str, Any]) -> None:
    """Run code, and show its last value as a notebook would."""
    *statements, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        statements.append(last)
    exec(compile(ast.Module(statements, []), "<cell>", "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
        for kind in ("__repr__", "_repr_html_", "_repr_png_"):
            getattr(value, kind, str)()


def draw_all() -> None:
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as in a notebook
@pytest.mark.parametrize(
    "stem", [pytest.param(stem, marks=pytest.mark.slow if stem in RARE else ()) for stem in SHORTER]
)
def test_it_runs_on_few_digits(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a kernel, which takes longer to start than this to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", draw_all)
    names: dict[str, Any] = {"__name__": "__main__"}
    with plt.rc_context({"figure.dpi": 40}), torch.random.fork_rng(devices=[]):
        for source in shortened(stem):
            run_cell(source, names)
    printed = capsys.readouterr()
    assert (bool(printed.out), printed.err) == (True, "")
    assert list(tmp_path.iterdir()) == [], "it leaves files behind"


@pytest.mark.slow
@each_notebook
def test_it_runs_from_top_to_bottom(path: Path, run: Callable[[NotebookNode], None]) -> None:
    run(nbformat.read(path, as_version=4))


@each_notebook
def test_it_is_stored_with_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert complaints(notebook) == []
    kinds = {kind for cell in cells for o in cell.outputs for kind in o.get("data", {})}
    assert "image/png" in kinds
    assert any(output.get("name") == "stdout" for cell in cells for output in cell.outputs)
    keys = {key for cell in cells for key in cell.metadata}
    assert keys == {"mystnb"}, "execution timing is noise in every diff"


@each_notebook
def test_its_pictures_have_alternative_texts(path: Path) -> None:
    for cell in code_cells(nbformat.read(path, as_version=4)):
        pictured = any("image/png" in output.get("data", {}) for output in cell.outputs)
        text = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert pictured == bool(text), cell.id


@each_notebook
def test_each_code_cell_starts_with_code(path: Path) -> None:
    for cell in code_cells(nbformat.read(path, as_version=4)):
        assert cell.source.split("\n")[0].strip(), f"cell {cell.id} starts with an empty line"


@each_notebook
def test_it_names_no_path_of_a_machine(path: Path) -> None:
    text = readable(nbformat.read(path, as_version=4))
    assert MACHINE_PATH.findall(text) == []
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize(
    "text", ["see /home/me/x", "'/tmp/a'", "C:\\Users\\me", "File /work/y", "lib/site-packages/z"]
)
def test_a_path_of_a_machine_is_noticed(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["https://a.org/home/x", "2/tmp", "and/or", "spikes / step"])
def test_other_slashes_are_no_path(text: str) -> None:
    assert not MACHINE_PATH.search(text)
