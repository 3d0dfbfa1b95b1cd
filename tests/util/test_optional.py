"""Optional packages: found, or missed with the command that brings them."""

import json
import os.path

import pytest

from snntorch_ecl._util.optional import require
from snntorch_ecl.errors import MissingDependencyError


@pytest.mark.parametrize(("name", "module"), [("json", json), ("os.path", os.path)])
def test_what_is_installed_is_returned(name: str, module: object) -> None:
    assert require(name, extra="demo") is module


@pytest.mark.parametrize("extra", ["demo", "train"])
def test_what_is_missing_is_named_with_the_command_that_brings_it(extra: str) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        require("nosuchpackage.part", extra=extra)
    text = str(caught.value)
    assert "this needs nosuchpackage, which cannot be imported" in text
    assert f'python -m pip install "snntorch-ecl[{extra}]"' in text


def test_the_import_errors_own_words_are_kept() -> None:
    with pytest.raises(MissingDependencyError, match=r"No module named 'json\.nothing'") as caught:
        require("json.nothing", extra="demo")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_package_that_breaks_while_it_loads_is_not_called_missing(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.path.join(tmp_path, "breaks_on_import.py"), "w", encoding="utf-8") as file:
        file.write("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        require("breaks_on_import", extra="demo")
