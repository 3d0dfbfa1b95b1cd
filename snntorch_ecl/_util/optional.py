"""Import optional packages only when they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import MissingDependencyError


def require(name: str, *, extra: str) -> ModuleType:
    """Import an optional module; if it is missing, say which extra of this package installs it.

    Example:
        >>> require("math", extra="demo").pi > 3
        True
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs {name.partition('.')[0]}, which cannot be imported ({error}); "
            f'run: python -m pip install "snntorch-ecl[{extra}]"'
        ) from error
