"""Tables for people: shares as per cent, and plain text."""

import pytest
from rich.cells import cell_len

from snntorch_ecl._util.tables import percent, render, table

COLUMNS = ("neuron", "T = 1", "T = 2")
ROWS = [("dual", "1.00", "22.00"), ("IF", "333.00", "–")]


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (None, 2, "–"),
        (0.0, 2, "0.00"),
        (1.0, 2, "100.00"),
        (0.98765, 2, "98.77"),
        (0.98765, 0, "99"),
        (-0.0125, 1, "-1.2"),
    ],
)
def test_percent(share: float | None, digits: int, text: str) -> None:
    assert percent(share, digits) == text


def test_two_decimals_are_the_default() -> None:
    assert percent(0.5) == "50.00"


def test_every_cell_and_the_title_are_shown_in_order() -> None:
    words = render(table("Accuracy, %", COLUMNS, ROWS)).replace("│", " ").split()
    cells = [cell for row in ROWS for cell in row]
    assert words[:2] == ["Accuracy,", "%"]
    assert [word for word in words if word in cells] == cells


def test_text_stands_left_and_numbers_right() -> None:
    made = table("t", COLUMNS, ROWS)
    assert [column.justify for column in made.columns] == ["left", "right", "right"]
    body = [line for line in render(made).splitlines() if line.startswith("│")]
    assert [line.split("│")[1] for line in body] == [" dual   ", " IF     "]
    assert [line.split("│")[2] for line in body] == ["   1.00 ", " 333.00 "]


def test_rows_may_be_an_iterator() -> None:
    assert table("t", COLUMNS, iter(ROWS)).row_count == len(ROWS)


def test_several_tables_follow_each_other() -> None:
    text = render(table("first", COLUMNS, ROWS), table("second", COLUMNS, ROWS))
    assert text.index("first") < text.index("second")
    assert text.count("dual") == 2


def test_text_holds_no_colour_codes_and_no_empty_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = render(table("t", COLUMNS, ROWS))
    assert "\x1b" not in text
    assert text == text.rstrip()


def test_a_long_name_is_folded_not_cut() -> None:
    name = "".join(f"layer{number}." for number in range(40))
    text = render(table("t", COLUMNS, [(name, "1", "2")]))
    assert max(cell_len(line) for line in text.splitlines()) <= 110
    first = "".join(line.split("│")[1].strip() for line in text.splitlines() if line[0] == "│")
    assert first == name


def test_brackets_in_names_are_shown_not_read_as_markup() -> None:
    shown = render(table("[b]t[/b]", ["layer"], [["blocks[0]"], ["a[/red]"]]))
    assert all(text in shown for text in ("[b]t[/b]", "blocks[0]", "a[/red]"))
