"""Figures show themselves in a notebook, with or without pyplot."""

import base64
import re
import sys

import pytest
from IPython.core.formatters import PNGFormatter

from snntorch_ecl._util.figures import as_image, new_figure
from snntorch_ecl.measurement import Evaluation

PNG = b"\x89PNG\r\n\x1a\n"
RESULT = Evaluation(100, 2, (0.90, 0.95), 0.96, None, ())


def test_a_notebook_shows_a_figure_that_pyplot_does_not_know() -> None:
    figure, axes = new_figure(size=(2, 1))
    axes.plot([0, 1])
    assert PNGFormatter()(figure).startswith(PNG)


def test_an_image_in_html_is_the_figure_and_has_a_description() -> None:
    figure, _ = new_figure(size=(2, 1))
    page = as_image(figure, "errors of <a>")
    assert 'alt="errors of &lt;a&gt;"' in page
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(data).startswith(PNG)


def test_a_result_brings_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RESULT._repr_html_().count("<img") == 1
    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    assert "<img" not in RESULT._repr_html_()
