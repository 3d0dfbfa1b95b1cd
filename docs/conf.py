"""How the site is built: `python -m sphinx -W -n docs docs/_build/html`.

Nothing is fetched and nothing is run: tutorials are shown with their stored outputs, equations are
MathML, and the search index lies beside the pages. So a build takes seconds, and the built folder
works without a connection.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert as to_mathml
from sphinx.pycode import ModuleAnalyzer

import snntorch_ecl

HERE = Path(__file__).parent
REPOSITORY = "https://github.com/snntorch-ecl/snntorch-ecl"

project = "snntorch-ecl"
author = "The snntorch-ecl authors"
copyright = "The snntorch-ecl authors"  # noqa: A001  Sphinx's own name
release = version = snntorch_ecl.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
suppress_warnings = ["config.cache"]

# Pages
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

# Reference
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Look
html_theme = "furo"
html_title = "snntorch-ecl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}
linkcheck_timeout = 20
linkcheck_anchors = False


def copy_tutorials() -> None:
    """The notebooks live in `tutorials/`; Sphinx reads only what is below this folder."""
    notebooks = {path.name: path for path in (HERE.parent / "tutorials").glob("*.ipynb")}
    copies = {path.name: path for path in (HERE / "tutorials").glob("*.ipynb")}
    for name in copies.keys() - notebooks.keys():
        copies[name].unlink()
    for name, notebook in notebooks.items():
        if name not in copies or copies[name].stat().st_mtime != notebook.stat().st_mtime:
            shutil.copy2(notebook, HERE / "tutorials" / name)


def public_names() -> dict[str, str]:
    """Where users find each name, by its last part; the top level comes before the rooms."""
    names = [m.name for m in pkgutil.walk_packages(snntorch_ecl.__path__, "snntorch_ecl.")]
    rooms = [name for name in names if not re.search(r"\._", name)]
    return {
        name: f"{room}.{name}"
        for room in [*reversed(rooms), "snntorch_ecl"]
        for name in importlib.import_module(room).__all__
    }


PUBLIC = public_names()
ELSEWHERE = re.compile(
    r"(torch|snntorch|torchvision|lightning|matplotlib|numpy|rich|typer|typing|collections|pathlib"
    r"|Tensor|Module|GraphModule|nn|Path|Axes|Figure|Table|Any)\b"
    r"|(T|Network|Norms|Options)$"  # type variables, internal types
    r"|snntorch_ecl(\.\w+)*\._\w+\.\w+$"
)


def find_reference(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Link a name to where users find it; names of other projects get no link."""
    target = node.get("reftarget", "")
    parts = target.removeprefix("~").split(".")
    for first in range(len(parts)):
        if parts[first] in PUBLIC and target != PUBLIC[parts[first]]:
            full = ".".join([PUBLIC[parts[first]], *parts[first + 1 :]])
            arguments = (env, node["refdoc"], app.builder, "obj", full, node, text)
            found = env.domains["py"].resolve_xref(*arguments)
            if found is not None:
                return found
    return text if ELSEWHERE.match(target) else None


def mend_docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: Any) -> None:
    """Two things that autodoc and napoleon take for something else.

    A constant's own words stand below it, in an internal module; autodoc shows those of its type.
    A property's text may hold a colon; napoleon takes what stands before it for a type.
    """
    if what == "data":
        room, _, constant = name.rpartition(".")
        modules = pkgutil.iter_modules(importlib.import_module(room).__path__, f"{room}.")
        found = [ModuleAnalyzer.for_module(module.name).find_attr_docs() for module in modules]
        lines[:] = next((docs["", constant] for docs in found if ("", constant) in docs), [])
    if what == "property" and lines and lines[-1].startswith(":type: "):
        lines[0] = f"{lines.pop().removeprefix(':type: ')}: {lines[0]}"


def mend_signature(
    app: Any, what: str, name: str, thing: Any, options: Any, signature: Any, returns: Any
) -> tuple[Any, Any]:
    """Defaults as a caller would write them: no internal constant, no nested settings in full."""
    if signature:
        constants = getattr(inspect.unwrap(thing), "__globals__", {})
        signature = re.sub(r"(?<==)_[A-Z]+\b", lambda m: repr(constants[m[0]]), signature)
        signature = re.sub(r"PosixPath\(('[^']*')\)", r"\1", signature)
        signature = re.sub(r"=(\w+Config)\((?:[^()]|\([^()]*\))*\)", r"=\1()", signature)
    return signature, returns


def keep_figures_whole(app: Any, name: str, source: list[str]) -> None:
    """A narrow table breaks no line within a figure, such as "T = 1", "94.0 @ 4" or "0.1 ± 0.2"."""
    figure = re.compile(r" ([=@·±]) (?=[\dT])| (?=%)")
    lines = source[0].split("\n")
    source[0] = "\n".join(
        figure.sub(lambda m: m[0].replace(" ", "\N{NO-BREAK SPACE}"), line)
        if line.startswith("|")
        else line
        for line in lines
    )


def mathml(tex: str, display: str) -> str:
    """An equation, with primes at the height of letters: raised once more they cannot be read."""
    return to_mathml(tex.replace("'", "\N{PRIME}"), display=display)


def show_inline(translator: Any, node: Any) -> None:
    """An equation in a sentence."""
    translator.body.append(mathml(node.astext(), "inline"))
    raise SkipNode


def show_block(translator: Any, node: Any) -> None:
    """An equation on a line of its own."""
    equation = mathml(node.astext(), "block")
    translator.body.append(f'<div class="equation">{equation}</div>')
    raise SkipNode


def setup(app: Any) -> None:
    """Called by Sphinx."""
    copy_tutorials()
    app.connect("missing-reference", find_reference)
    app.connect("autodoc-process-docstring", mend_docstring, priority=600)  # after napoleon
    app.connect("autodoc-process-signature", mend_signature)
    app.connect("source-read", keep_figures_whole)
    app.add_html_math_renderer("mathml", (show_inline, None), (show_block, None))
