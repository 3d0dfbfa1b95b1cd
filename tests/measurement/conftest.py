"""For tests of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from snntorch_ecl._util.figures import new_figure


@pytest.fixture
def axes() -> Axes:
    """To draw on."""
    return new_figure(size=(5, 3))[1]


@pytest.fixture
def pyplot_stays_untouched() -> Iterator[None]:
    """No figure is left open, and the user's settings are as before."""
    settings = dict(plt.rcParams)
    yield
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == settings
