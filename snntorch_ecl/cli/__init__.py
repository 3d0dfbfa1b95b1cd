"""The command line: ``snntorch-ecl``, or ``python -m snntorch_ecl.cli``."""

from ._app import app

__all__ = ["app"]
