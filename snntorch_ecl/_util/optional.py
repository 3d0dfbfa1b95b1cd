"""Optional packages, imported where they are used and not before."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import MissingDependencyError


def require(name: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        name: The module's name.
        extra: The extra of this package that brings it.

    Returns:
        The module.

    Raises:
        MissingDependencyError: It is not installed; says what to run.

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
