"""The command ``snntorch-ecl``.

It stands outside the package, whose import loads torch: ``--version`` needs neither.
"""

from __future__ import annotations

import sys
from importlib.metadata import version


def main() -> None:
    """Show the version at once, or load the package and run its command line."""
    if sys.argv[1:] == ["--version"]:
        print(f"snntorch-ecl {version('snntorch-ecl')}")
        return
    try:
        from snntorch_ecl.cli import app
    except KeyboardInterrupt:
        sys.exit(130)  # as later on, without a page of what was being loaded
    app()
