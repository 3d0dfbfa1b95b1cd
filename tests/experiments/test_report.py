"""The page: whole in itself, safe, well-formed, the same each time."""

from __future__ import annotations

import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from snntorch_ecl._util.figures import new_figure
from snntorch_ecl.errors import DataError, MissingDependencyError
from snntorch_ecl.experiments._report import Picture, Report, Sheet, Words

HOSTILE = """<b>&"'</b><script src="//evil.example/x.js">--></script>"""
LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}
# An RDF type in matplotlib's metadata: a name, which browsers never load.
NAMES = ("xmlns", "rdf:resource")
VOID = {"meta", "link", "br", "img", "input", "hr", "base"}


class Page(HTMLParser):
    """Elements with their attributes, text by place, tables as rows of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.styles: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, given))
        self.styles.append(given.get("style", ""))
        if tag in VOID:
            return
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        if tag in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif tag == "style":
            self.styles.append(data)
        elif tag:
            self.texts[tag][-1] += data

    def values(self, attribute: str) -> list[str]:
        return [given[attribute] for _, given in self.elements if attribute in given]


def picture(title: str = "p", caption: str = "what it shows", label: str = "steps") -> Picture:
    figure, axes = new_figure(size=(12, 4))
    axes.plot([1, 2, 3], [3, 1, 2], "o-", label=label)
    axes.set_xlabel(label)
    axes.set_xlim(1.5, 2.5)  # points outside: clip paths are needed
    axes.legend()
    return Picture(title, [(figure, f"drawn: {caption}")], caption)


def report(text: str = "plain") -> Report:
    return Report(
        title=f"title {text}",
        lead=f"lead {text}",
        parts=[
            Sheet(f"sheet {text}", ("neuron", f"column {text}"), [("a", f"cell {text}")], "note"),
            picture(f"first {text}", f"caption {text}", text),
            Sheet("second sheet", ("x", "y", "z"), [("1", "2", "3"), ("4", "5", "6")]),
            picture("second", "another"),
        ],
        facts=[(f"name {text}", f"value {text}"), ("seed", "0")],
    )


def written(page: Report, tmp_path: Path) -> str:
    return page.write(tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page whose every text tries to break out."""
    return Page(written(report(HOSTILE), tmp_path_factory.mktemp("hostile")))


# --------------------------------------------------------------------------- self-contained


def test_nothing_is_loaded_from_elsewhere(hostile: Page) -> None:
    links = [value for name in LOADING for value in hostile.values(name)]
    assert links, "the markers of the plots are links within the page"
    assert [value for value in links if not value.startswith("#")] == []


def test_styles_load_nothing(hostile: Page) -> None:
    styles = "\n".join([*hostile.styles, *hostile.values("clip-path"), *hostile.values("fill")])
    assert "@import" not in styles
    urls = re.findall(r"url\(\s*['\"]?([^)]*)", styles)
    assert urls, "the plots are clipped by paths within the page"
    assert [url for url in urls if not url.startswith("#")] == []


def test_every_link_within_the_page_leads_somewhere(hostile: Page) -> None:
    links = hostile.values("xlink:href") + re.findall(
        r"url\((#[^)]*)\)", " ".join(hostile.values("clip-path"))
    )
    assert {link[1:] for link in links} <= set(hostile.values("id"))


def test_only_names_of_xml_look_like_addresses(hostile: Page) -> None:
    found = {
        name
        for tag, given in hostile.elements
        for name, value in given.items()
        if "//" in value and HOSTILE not in value
    }
    assert {name for name in found if not name.startswith(NAMES)} == set()


def test_there_is_no_active_content(hostile: Page) -> None:
    tags = {tag for tag, _ in hostile.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "img"}
    assert not {name for _, given in hostile.elements for name in given if name.startswith("on")}


# ---------------------------------------------------------------------------------- content


def test_texts_arrive_as_they_were_given(hostile: Page) -> None:
    assert hostile.texts["title"][0] == f"title {HOSTILE}"
    assert hostile.texts["h1"] == [f"title {HOSTILE}"]
    assert hostile.texts["p"] == [f"lead {HOSTILE}", "note"]
    assert hostile.texts["h2"] == [
        f"sheet {HOSTILE}", f"first {HOSTILE}", "second sheet", "second", "How this was made",
    ]  # fmt: skip
    assert [text.strip() for text in hostile.texts["figcaption"]] == [
        f"caption {HOSTILE}", "another",
    ]  # fmt: skip
    assert hostile.texts["dt"] == [f"name {HOSTILE}", "seed"]
    assert hostile.texts["dd"] == [f"value {HOSTILE}", "0"]


def test_tables_hold_the_cells_under_their_columns(hostile: Page) -> None:
    assert hostile.tables == [
        [["neuron", f"column {HOSTILE}"], ["a", f"cell {HOSTILE}"]],
        [["x", "y", "z"], ["1", "2", "3"], ["4", "5", "6"]],
    ]


def test_column_heads_say_so(hostile: Page) -> None:
    assert [given for tag, given in hostile.elements if tag == "th"] == [{"scope": "col"}] * 5


def test_every_figure_is_an_image_with_its_text_alternative(hostile: Page) -> None:
    labels = [
        given.get("aria-label") for _, given in hostile.elements if given.get("role") == "img"
    ]
    assert labels == [f"drawn: caption {HOSTILE}", "drawn: another"]
    assert [tag for tag, _ in hostile.elements].count("svg") == 2


def test_the_page_names_its_language_and_encoding(hostile: Page) -> None:
    assert ("html", {"lang": "en"}) in hostile.elements
    assert ("meta", {"charset": "utf-8"}) in hostile.elements


def test_it_is_one_html_document(tmp_path: Path) -> None:
    text = written(report(), tmp_path)
    assert text.startswith("<!doctype html>")
    assert text.lower().count("<!doctype") == 1
    assert "<?xml" not in text


def test_ids_are_unique_over_all_pictures(hostile: Page) -> None:
    assert [name for name, count in Counter(hostile.values("id")).items() if count > 1] == []


def test_words_and_code_arrive_as_they_were_given(tmp_path: Path) -> None:
    words = Words("next", [(f"do {HOSTILE}", f"print({HOSTILE})"), ("and stop", "")])
    page = Page(written(Report("t", "l", [words]), tmp_path))
    assert page.texts["p"] == ["l", f"do {HOSTILE}", "and stop"]
    assert page.texts["code"] == [f"print({HOSTILE})"]


def test_the_column_to_use_is_set_off(tmp_path: Path) -> None:
    sheet = Sheet("s", ("x", "y"), [("1", "2")], marked=1)
    page = Page(written(Report("t", "l", [sheet]), tmp_path))
    cells = [given.get("class") for tag, given in page.elements if tag in ("th", "td")]
    assert cells == [None, "marked", None, "marked"]


def test_figures_have_the_pages_ink_in_light_dark_and_print(hostile: Page) -> None:
    drawn = " ".join(hostile.values("style"))
    assert "stroke: var(--ink)" in drawn
    assert "#000000" not in drawn
    style = hostile.styles[next(i for i, s in enumerate(hostile.styles) if "--ink" in s)]
    assert "screen and (prefers-color-scheme: dark)" in style
    for name in re.findall(r"var\(--(\w+)\)", drawn):
        assert style.count(f"--{name}:") == 2, "each colour has one for light and one for dark"


def test_a_step_count_is_never_broken_over_lines(tmp_path: Path) -> None:
    page = Page(written(Report("t", "at T = L = 8, T = 2", []), tmp_path))
    assert page.texts["p"] == ["at T\u00a0=\u00a0L\u00a0=\u00a08, T\u00a0=\u00a02"]


def test_a_page_may_be_empty(tmp_path: Path) -> None:
    page = Page(written(Report("t", "l", []), tmp_path))
    assert page.tables == []
    assert page.texts["h2"] == ["How this was made"]


# ---------------------------------------------------------------------------------- writing


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (report().write(tmp_path / name) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_the_page_is_utf8(tmp_path: Path) -> None:
    path = Report("θ′ ≤ −1", "l", []).write(tmp_path / "r.html")
    assert "<h1>θ′ ≤ −1</h1>".encode() in path.read_bytes()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_missing_folder_is_made_and_the_path_returned(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "a" / "b" / "report.html"
    assert Report("t", "l", []).write(kind(path)) == path
    assert path.is_file()


@pytest.mark.parametrize("name", ["file/report.html", "folder"])
def test_a_page_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=f"report cannot be written to .*{name}: ") as caught:
        Report("t", "l", []).write(tmp_path / name)
    assert isinstance(caught.value.__cause__, OSError)


def test_matplotlibs_settings_stay_as_they_are(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    report().write(tmp_path / "r.html")
    assert dict(mpl.rcParams) == before


def test_without_jinja2_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"needs jinja2.*snntorch-ecl\[demo\]"):
        Report("t", "l", []).write(tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []
